"""From a grown tree and what the trainer made of its trajectories to a record."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from treepo.tree import FinishReason, Node, NodePath, Trajectory, Tree
from treepo.viewer.schema import VERSION, NodeRecord, PromptRecord, TrajectoryRecord, TreeRecord, tree_stats


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A trajectory as a row of a batch holds it.

    Attributes:
        tokens: Token ids of the response, shape [length], without padding.
        log_probs: Log-probability of each when it was sampled, shape [length].
        path: Its way through the tree; as long as the response.
        node_versions: First and last version of the weights that decoded each node, shape [nodes].
        observed: How many of each node's tokens, its last ones, an environment or a tool wrote, shape [nodes].
        reason: Why it ended.
        finish_step: The step of its prompt at which it ended, from 1.
        from_fallback: Whether it grew out of a fallback.
    """

    tokens: Sequence[int]
    log_probs: Sequence[float]
    path: NodePath
    node_versions: Sequence[tuple[int, int]]
    observed: Sequence[int]
    reason: FinishReason
    finish_step: int
    from_fallback: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What the trainer made of a trajectory.

    Attributes:
        reward: Its scalar reward.
        reward_extra: Further fields of the reward function; numpy values and tensors become plain, numbers that are not
            finite None.
        advantages: One number per token of the response, shape [length]; None where there are none.
        entropies: Entropy of the distribution of each token of the response in nats, shape [length]; None where there
            are none. A shared token has those of the first trajectory through it.
    """

    reward: float
    reward_extra: Mapping[str, Any] = field(default_factory=dict)
    advantages: Sequence[float] | None = None
    entropies: Sequence[float] | None = None


def tree_from_rows(
    *, prompt_id: str, prompt_tokens: Sequence[int], rows: Sequence[Row], stats: Mapping[str, int | float]
) -> Tree:
    """Puts the rows of one prompt together to the tree that they came from.

    Args:
        prompt_id: The prompt.
        prompt_tokens: Its token ids, without padding.
        rows: Its trajectories in the tree's order, each once.
        stats: What growing the tree took: the fields of `treepo.tree.TreeStats`; others are passed over.

    Raises:
        ValueError: A row's nodes do not add up to its tokens, rows differ in the tokens of a node, or a statistic is
            missing.
    """
    nodes: dict[int, Node] = {}
    trajectories: list[Trajectory] = []
    for number, row in enumerate(rows):
        lengths = (len(row.tokens), len(row.log_probs), row.path.length)
        if len(set(lengths)) != 1:
            raise ValueError(
                f"prompt {prompt_id}, row {number}: tokens, log_probs and path disagree on the length {lengths}"
            )
        for what, entries in (("weight versions", row.node_versions), ("observations", row.observed)):
            if len(entries) != len(row.path.node_ids):
                raise ValueError(
                    f"prompt {prompt_id}, row {number}: {len(row.path.node_ids)} nodes with {what} of {len(entries)}"
                )
        path: list[Node] = []
        for node in _cut(row):
            # Log-probs may differ in the last bits where a batch was computed anew; the tokens may not.
            known = nodes.setdefault(node.id, node)
            if known.tokens != node.tokens:
                raise ValueError(f"prompt {prompt_id}, row {number}: node {node.id} has other tokens in a row before")
            path.append(known)
        trajectories.append(
            Trajectory(
                nodes=tuple(path), reason=row.reason, finish_step=row.finish_step, from_fallback=row.from_fallback
            )
        )
    return Tree(
        prompt_id=prompt_id, prompt_tokens=prompt_tokens, trajectories=tuple(trajectories), stats=tree_stats(stats)
    )


def _cut(row: Row) -> Iterator[Node]:
    for (node, place), versions, observed in zip(row.path.spans(), row.node_versions, row.observed, strict=True):
        yield Node(
            id=node,
            tokens=row.tokens[place],
            log_probs=row.log_probs[place],
            weight_versions=versions,
            observed=observed,
        )


def tree_record(
    tree: Tree,
    *,
    step: int,
    scores: Sequence[Scores],
    decode: Callable[[Sequence[int]], str],
    prompt_text: str | None = None,
    ground_truth: Any = None,
    piece: Callable[[int], str] | None = None,
    extra_stats: Mapping[str, int | float] | None = None,
) -> TreeRecord:
    """Describes one prompt's tree.

    Args:
        tree: The tree; its `prompt_id` becomes the record's `uid`.
        step: The training step.
        scores: One entry per trajectory, in the tree's order.
        decode: Text of some token ids; asked about every node alone.
        prompt_text: The prompt as the model reads it; decoded from its tokens where it is None.
        ground_truth: What the reward compares with.
        piece: Text of one token id, for the page's tokens; without it they have none.
        extra_stats: Statistics beside the tree's own.

    Raises:
        ValueError: `scores`, some advantages or entropies have the wrong length, a number is not finite, a value does
            not fit into JSON, or the trajectories contradict each other.
    """
    if len(scores) != len(tree.trajectories):
        raise ValueError(f"prompt {tree.prompt_id}: {len(tree.trajectories)} trajectories and {len(scores)} scores")
    nodes: dict[int, NodeRecord] = {}
    for trajectory, score in zip(tree.trajectories, scores, strict=True):
        _add_nodes(trajectory, nodes, decode=decode, piece=piece, entropies=score.entropies)
    return TreeRecord(
        version=VERSION,
        step=step,
        prompt=PromptRecord(
            uid=tree.prompt_id,
            text=decode(tree.prompt_tokens) if prompt_text is None else prompt_text,
            tokens=tuple(tree.prompt_tokens),
            ground_truth=_plain(ground_truth, "ground_truth"),
        ),
        nodes=tuple(nodes.values()),
        trajectories=tuple(
            TrajectoryRecord(
                path=trajectory.path,
                reason=trajectory.reason,
                finish_step=trajectory.finish_step,
                from_fallback=trajectory.from_fallback,
                reward=score.reward,
                reward_extra={name: _plain(value, name) for name, value in score.reward_extra.items()},
                advantages=None if score.advantages is None else _per_node(trajectory, score.advantages),
            )
            for trajectory, score in zip(tree.trajectories, scores, strict=True)
        ),
        stats={**dataclasses.asdict(tree.stats), **(extra_stats or {})},
    )


def _add_nodes(
    trajectory: Trajectory,
    nodes: dict[int, NodeRecord],
    *,
    decode: Callable[[Sequence[int]], str],
    piece: Callable[[int], str] | None,
    entropies: Sequence[float] | None,
) -> None:
    if entropies is not None and len(entropies) != trajectory.length:
        raise ValueError(f"a trajectory of {trajectory.length} tokens has {len(entropies)} entropies")
    parent, start = None, 0
    for depth, node in enumerate(trajectory.nodes, start=1):
        if node.id not in nodes:
            nodes[node.id] = NodeRecord(
                id=node.id,
                parent=parent,
                depth=depth,
                start=start,
                text=decode(node.tokens),
                tokens=tuple(node.tokens),
                pieces=None if piece is None else tuple(piece(token) for token in node.tokens),
                log_probs=tuple(node.log_probs),
                entropies=None if entropies is None else tuple(entropies[start : start + node.length]),
                observed=node.observed,
                weight_versions=node.weight_versions,
            )
        parent, start = node.id, start + node.length


def _per_node(trajectory: Trajectory, advantages: Sequence[float]) -> tuple[float | tuple[float, ...], ...]:
    """The advantages of a response by node, one number where those of its written tokens are all the same."""
    if len(advantages) != trajectory.length:
        raise ValueError(f"a trajectory of {trajectory.length} tokens has {len(advantages)} advantages")
    entries: list[float | tuple[float, ...]] = []
    for node, (_, place) in zip(trajectory.nodes, trajectory.path.spans(), strict=True):
        own = tuple(float(value) for value in advantages[place])
        entries.append(own[0] if len(set(own[: node.written])) == 1 else own)
    return tuple(entries)


def _plain(value: Any, name: str) -> JsonValue:
    """The value as JSON can hold it."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): _plain(entry, name) for key, entry in value.items()}
        case list() | tuple():
            return [_plain(entry, name) for entry in value]
    if hasattr(value, "tolist"):  # numpy's and torch's values, which this room does not know
        return _plain(value.tolist(), name)
    raise ValueError(f"{name} is a {type(value).__name__}, which JSON cannot hold")
