"""What a trajectory's row carries of its tree, through TransferQueue to the estimator and the metrics."""

import dataclasses
from typing import TypedDict

from treepo.advantage import TreeRow
from treepo.tree import Tree


class TreeFields(TypedDict):
    """The entry ``treepo`` of a row's ``extra_fields``; plain values, since it travels between processes."""

    node_ids: list[int]
    node_lengths: list[int]
    node_versions: list[tuple[int, int]]
    """First and last version of the weights that decoded each node."""
    reason: str
    finish_step: int
    from_fallback: bool
    tree_stats: dict[str, int] | None
    """Counts of the whole tree, on its first trajectory's row alone."""
    tree_seconds: float


def tree_fields(tree: Tree, *, seconds: float, discarded_tokens: int = 0) -> list[TreeFields]:
    """Splits a tree into what each of its rows carries.

    Args:
        tree: A grown tree.
        seconds: How long it took to grow.
        discarded_tokens: Tokens that were received past the end of a path.

    Returns:
        One entry per trajectory, in the tree's order.
    """
    stats = {**dataclasses.asdict(tree.stats), "discarded_tokens": discarded_tokens}
    return [
        TreeFields(
            node_ids=list(trajectory.node_ids),
            node_lengths=list(trajectory.node_lengths),
            node_versions=[node.weight_versions for node in trajectory.path],
            reason=trajectory.reason.value,
            finish_step=trajectory.finish_step,
            from_fallback=trajectory.from_fallback,
            tree_stats=stats if position == 0 else None,
            tree_seconds=seconds,
        )
        for position, trajectory in enumerate(tree.trajectories)
    ]


def tree_row(uid: str, fields: TreeFields) -> TreeRow:
    """The row as the estimators take it; ``uid`` is verl's id of the prompt group."""
    return TreeRow(prompt_id=uid, node_ids=tuple(fields["node_ids"]), node_lengths=tuple(fields["node_lengths"]))
