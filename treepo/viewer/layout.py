"""Where everything of a tree goes on the page: what is drawn, without how it is written.

Nodes that do not fork are drawn as one run, so that the nesting of the page is as deep as the forks and no deeper.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from treepo.viewer.schema import NodeRecord, TrajectoryRecord, TreeRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A trajectory where it ends; `number` counts them in the tree's order, from 0."""

    number: int
    trajectory: TrajectoryRecord
    advantage: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A node with what its trajectories make of it.

    Attributes:
        node: The node.
        advantage: Mean over the tokens that the model wrote, and over the trajectories through it; None without
            advantages.
    """

    node: NodeRecord
    advantage: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Nodes that follow each other without a fork, what goes on behind them, and what ends there.

    Attributes:
        blocks: The nodes.
        children: The runs that fork from the last of them.
        leaves: The trajectories that end at the last of them.
        count: Trajectories through it.
        reward: Their mean reward.
        row: Where it is drawn from top to bottom; 0 is the first leaf, 1 the next.
    """

    blocks: tuple[Block, ...]
    children: tuple["Run", ...]
    leaves: tuple[Leaf, ...]
    count: int
    reward: float
    row: float

    @property
    def start(self) -> int:
        """Position of its first token in the response."""
        return self.blocks[0].node.start

    @property
    def length(self) -> int:
        """Its tokens."""
        return sum(len(block.node.tokens) for block in self.blocks)


def lay_out(record: TreeRecord) -> list[Run]:
    """The runs that start at the root, each with all that hangs from it."""
    known = {node.id: node for node in record.nodes}
    children: dict[int | None, list[NodeRecord]] = defaultdict(list)
    for node in record.nodes:
        children[node.parent].append(node)
    leaves: dict[int, list[Leaf]] = defaultdict(list)
    through: dict[int, list[tuple[TrajectoryRecord, float | None]]] = defaultdict(list)
    for number, trajectory in enumerate(record.trajectories):
        path = [known[node] for node in trajectory.path.node_ids]
        own = _per_node(trajectory, path)
        for node, advantage in zip(trajectory.path.node_ids, own, strict=True):
            through[node].append((trajectory, advantage))
        leaf = Leaf(number=number, trajectory=trajectory, advantage=_leaf_advantage(path, own))
        leaves[trajectory.path.node_ids[-1]].append(leaf)
    # Children stand behind their parents, so that from the back a run finds those that hang from it; no recursion,
    # which a long response in short segments would exhaust.
    runs: dict[int, Run] = {}
    rows = _rows(record, children)
    for node in reversed(record.nodes):
        block = Block(node=node, advantage=_mean([advantage for _, advantage in through[node.id]]))
        below = [runs.pop(child.id) for child in children[node.id]]
        ends = tuple(leaves[node.id])
        if len(below) == 1 and not ends:
            only = below[0]
            runs[node.id] = _run((block, *only.blocks), only.children, only.leaves, through[node.id], only.row)
        else:
            runs[node.id] = _run((block,), tuple(below), ends, through[node.id], rows[node.id])
    return [runs[node.id] for node in children[None]]


def _run(
    blocks: tuple[Block, ...],
    children: tuple[Run, ...],
    leaves: tuple[Leaf, ...],
    through: Sequence[tuple[TrajectoryRecord, float | None]],
    row: float,
) -> Run:
    return Run(
        blocks=blocks,
        children=children,
        leaves=leaves,
        count=len(through),
        reward=fmean(trajectory.reward for trajectory, _ in through),
        row=row,
    )


def _rows(record: TreeRecord, children: dict[int | None, list[NodeRecord]]) -> dict[int, float]:
    """Leaves get whole numbers in the order of a walk through the tree, other nodes the middle of their children."""
    rows: dict[int, float] = {}
    taken = 0
    pending = list(reversed(children[None]))
    while pending:
        node = pending.pop()
        pending += reversed(children[node.id])
        if not children[node.id]:
            rows[node.id] = taken
            taken += 1
    for node in reversed(record.nodes):
        if children[node.id]:
            own = [rows[child.id] for child in children[node.id]]
            rows[node.id] = (min(own) + max(own)) / 2
    return rows


def _per_node(trajectory: TrajectoryRecord, path: Sequence[NodeRecord]) -> list[float | None]:
    if trajectory.advantages is None:
        return [None] * len(path)
    return [
        fmean(own[: node.written]) if isinstance(own, tuple) else own
        for node, own in zip(path, trajectory.advantages, strict=True)
    ]


def _leaf_advantage(path: Sequence[NodeRecord], per_node: Sequence[float | None]) -> float | None:
    """The mean over all tokens of the trajectory that the model wrote."""
    known = [(own, node.written) for node, own in zip(path, per_node, strict=True) if own is not None]
    return sum(own * count for own, count in known) / sum(count for _, count in known) if known else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
