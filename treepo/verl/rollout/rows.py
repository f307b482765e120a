"""What a trajectory's row carries of its tree, through TransferQueue to the estimator and the metrics."""

import dataclasses
from collections.abc import Mapping
from typing import TypedDict

from treepo.advantage import TreeRow
from treepo.tree import NodePath, Tree


class TreeFields(TypedDict):
    """The entry ``treepo`` of a row's ``extra_fields``; plain values, since it travels between processes."""

    path: dict[str, list[int]]
    """The trajectory's way through its tree, as `treepo.tree.NodePath.plain` gives it; `path_of` reads it."""
    node_versions: list[tuple[int, int]]
    """First and last version of the weights that decoded each node."""
    observed: list[int]
    """How many of each node's tokens, its last ones, an environment or a tool wrote."""
    reason: str
    finish_step: int
    from_fallback: bool
    tree_stats: dict[str, int] | None
    """Counts of the whole tree, on its first trajectory's row alone."""
    turn_stats: dict[str, float] | None
    """In trees of turns: counts of the whole tree, on its first trajectory's row alone."""
    tree_seconds: float


def tree_fields(
    tree: Tree, *, seconds: float, discarded_tokens: int = 0, turn_stats: Mapping[str, float] | None = None
) -> list[TreeFields]:
    """Splits a tree into what each of its rows carries.

    Args:
        tree: A grown tree.
        seconds: How long it took to grow.
        discarded_tokens: Tokens that were received past the end of a path.
        turn_stats: What its turns took; None where it has none.

    Returns:
        One entry per trajectory, in the tree's order.
    """
    stats = {**dataclasses.asdict(tree.stats), "discarded_tokens": discarded_tokens}
    return [
        TreeFields(
            path=trajectory.path.plain(),
            node_versions=[node.weight_versions for node in trajectory.nodes],
            observed=[node.observed for node in trajectory.nodes],
            reason=trajectory.reason.value,
            finish_step=trajectory.finish_step,
            from_fallback=trajectory.from_fallback,
            tree_stats=stats if position == 0 else None,
            turn_stats=dict(turn_stats) if turn_stats is not None and position == 0 else None,
            tree_seconds=seconds,
        )
        for position, trajectory in enumerate(tree.trajectories)
    ]


def path_of(fields: TreeFields) -> NodePath:
    """The path of a row's trajectory."""
    return NodePath.of_plain(fields["path"])


def tree_row(uid: str, fields: TreeFields) -> TreeRow:
    """The row as the estimators take it; ``uid`` is verl's id of the prompt group."""
    path = path_of(fields)
    return TreeRow(prompt_id=uid, node_ids=path.node_ids, node_lengths=path.node_lengths)


def turn_count(fields: TreeFields) -> int:
    """Turns of the model in a trajectory: behind every one but the last something was observed."""
    return 1 + sum(observed > 0 for observed in fields["observed"])
