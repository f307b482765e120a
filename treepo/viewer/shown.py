"""A tree as the page shows it: from a dumped record, or from whatever else keeps trees, with what is known of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from treepo.viewer.schema import TrajectoryRecord, TreeRecord

ACCURACY = "acc"
"""The reward function's field that holds a trajectory's accuracy, as in verl."""
_BROKEN = "\ufffd"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownNode:
    """One node; what is None was not kept.

    Attributes:
        id: As the tree names it.
        parent: Place of its parent among the nodes; None below the prompt.
        length: Its tokens.
        observed: How many of them, the last ones, an environment or a tool wrote.
        text: Its decoded tokens.
        pieces: The text of every token, shape [length]; None for a token whose text is with that of the one before.
        tokens: Token ids, shape [length].
        log_probs: Log-probability of each token when it was sampled, shape [length].
        entropies: Entropy of each token's distribution in nats, shape [length].
        weight_versions: First and last version of the weights that sampled it.
    """

    id: int
    parent: int | None
    length: int
    observed: int = 0
    text: str | None = None
    pieces: Sequence[str | None] | None = None
    tokens: Sequence[int] | None = None
    log_probs: Sequence[float] | None = None
    entropies: Sequence[float] | None = None
    weight_versions: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTrajectory:
    """One trajectory; what is None is not known.

    Attributes:
        leaf: Place of its last node among the nodes.
        reason: Why it ended.
        from_fallback: Whether it grew out of a fallback.
        finish_step: The step of its prompt at which it ended, from 1.
        accuracy: Its accuracy, from 0 to 1.
        reward: Its scalar reward.
        fields: What else is to be said of it.
        advantages: Per node of its path: one number, or one per token.
        text: Its whole response, where nodes have no texts of their own.
    """

    leaf: int
    reason: str
    from_fallback: bool
    finish_step: int | None = None
    accuracy: float | None = None
    reward: float | None = None
    fields: Mapping[str, JsonValue] = field(default_factory=dict)
    advantages: Sequence[float | Sequence[float]] | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTree:
    """One prompt's tree.

    Attributes:
        group: What it is listed under: a step, or a benchmark and a sampling.
        uid: The prompt's id.
        prompt: Its text.
        ground_truth: What the reward compares with; None where there is none.
        nodes: Parents before their children.
        trajectories: In the tree's order, at least one.
        stats: What growing it took.
    """

    group: str
    uid: str
    prompt: str
    ground_truth: JsonValue
    nodes: Sequence[ShownNode]
    trajectories: Sequence[ShownTrajectory]
    stats: Mapping[str, int | float] = field(default_factory=dict)


def shown_tree(record: TreeRecord) -> ShownTree:
    """A dumped tree as the page shows it."""
    places = {node.id: place for place, node in enumerate(record.nodes)}
    return ShownTree(
        group=f"step {record.step}",
        uid=record.prompt.uid,
        prompt=record.prompt.text,
        ground_truth=record.prompt.ground_truth,
        nodes=[
            ShownNode(
                id=node.id,
                parent=None if node.parent is None else places[node.parent],
                length=len(node.tokens),
                observed=node.observed,
                text=node.text,
                pieces=None if node.pieces is None else align_pieces(node.pieces, node.text),
                tokens=node.tokens,
                log_probs=node.log_probs,
                entropies=node.entropies,
                weight_versions=node.weight_versions,
            )
            for node in record.nodes
        ],
        trajectories=[
            ShownTrajectory(
                leaf=places[trajectory.path.node_ids[-1]],
                reason=trajectory.reason.value,
                from_fallback=trajectory.from_fallback,
                finish_step=trajectory.finish_step,
                accuracy=_accuracy(trajectory),
                reward=trajectory.reward,
                fields=trajectory.reward_extra,
                advantages=trajectory.advantages,
            )
            for trajectory in record.trajectories
        ],
        stats=record.stats,
    )


def align_pieces(pieces: Sequence[str], text: str) -> list[str | None]:
    """The text of a node shared out among its tokens.

    Tokens that are decoded alone lose what lies between them: the bytes of one character, a leading space.

    Args:
        pieces: The text of every token alone, shape [n].
        text: The text of all together.

    Returns:
        Texts that make up `text`, shape [n], with None for a token whose characters stand with the token before it; the
        pieces as they are where they cannot be found in the text.

    Example:
        >>> align_pieces(["a", "\ufffd", "\ufffd", "b"], "aéb")
        ['a', 'é', None, 'b']
    """
    if "".join(pieces) == text:
        return list(pieces)
    aligned: list[str | None] = []
    taken, pending = 0, 0  # characters that are shared out, tokens that wait for theirs
    for piece in [*pieces, None]:
        if piece is not None and (not piece or _BROKEN in piece):
            pending += 1
            continue
        found = len(text) if piece is None else text.find(piece, taken)
        # Bytes without a token that is whole make one character each at most.
        gap = text[taken:found]
        if found < 0 or (pending == 0 and gap.strip()) or len(gap) > pending + 1:
            return list(pieces)
        if pending:
            aligned += [gap, *[None] * (pending - 1)]
            gap = ""
        if piece is not None:
            aligned.append(gap + piece)
        elif gap:
            return list(pieces)
        taken, pending = found + len(piece or ""), 0
    return aligned


def _accuracy(trajectory: TrajectoryRecord) -> float | None:
    value = trajectory.reward_extra.get(ACCURACY)
    return float(value) if isinstance(value, bool | int | float) else None


def forks(tree: ShownTree) -> int:
    """How many of its nodes, the prompt included, have more than one child."""
    return sum(count > 1 for count in _children(tree).values())


def _children(tree: ShownTree) -> dict[int | None, int]:
    counts: dict[int | None, int] = {}
    for node in tree.nodes:
        counts[node.parent] = counts.get(node.parent, 0) + 1
    return counts


def depths(tree: ShownTree) -> Iterator[int]:
    """Nodes from the prompt to each node, itself included."""
    known: list[int] = []
    for node in tree.nodes:
        known.append(1 if node.parent is None else known[node.parent] + 1)
        yield known[-1]
