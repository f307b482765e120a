"""The trees of a batch as tensors: which trajectories share which prefix, and means over them.

Small tensors are read by `gather` and written by `index_add`: plain indexing wakes all threads for a few thousand
elements, which takes longer than the work, and milliseconds each time on a busy machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeRow:
    """One row of the batch: a trajectory's path through the tree of its prompt.

    Several rows may hold the same path: a padding row (its response mask is all zero) repeats some trajectory.

    Attributes:
        prompt_id: The prompt, which is the root of the tree.
        node_ids: The nodes from the root's child to the leaf; an id is unique among the children of one node.
        node_lengths: Response tokens of every node, in the same order.

    Raises:
        ValueError: The two differ in length, or a length is negative.
    """

    prompt_id: str
    node_ids: tuple[int, ...]
    node_lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.node_ids) != len(self.node_lengths) or min(self.node_lengths, default=0) < 0:
            raise ValueError(
                f"prompt {self.prompt_id!r}: every node needs a number of tokens that is not negative, "
                f"got nodes {self.node_ids} with lengths {self.node_lengths}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """All prefixes of one depth; a prefix stands for the sub-group of trajectories that share it.

    Attributes:
        members: Shape (members,), the trajectories whose path is at least this deep, ascending.
        groups: Shape (members,), the sub-group of each member.
        sizes: Shape (groups,), trajectories in each sub-group.
        parents: Shape (groups,), the sub-group one level up; at depth 0 the prompt's number.
        leaves: Shape (leaves,), positions in `members` of the trajectories that end here.
    """

    members: Tensor
    groups: Tensor
    sizes: Tensor
    parents: Tensor
    leaves: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """The trees of a batch, every distinct trajectory once.

    Attributes:
        row_trajectories: Shape (batch,), the trajectory that each row holds; -1 for a padding row.
        first_rows: Shape (trajectories,), the first row that holds each trajectory.
        depths: Shape (trajectories,), nodes on each path.
        levels: One entry per depth, from 0 (the prompts) to the longest path.
    """

    row_trajectories: Tensor
    first_rows: Tensor
    depths: Tensor
    levels: tuple[Level, ...]


def build_forest(rows: Sequence[TreeRow], live: Tensor) -> Forest:
    """Groups the trajectories of a batch by every prefix of their paths.

    Args:
        rows: One entry per row of the batch.
        live: Bool, shape (batch,); False marks a padding row, which is left out.

    Returns:
        The trees, on the CPU; a path that occurs in several live rows is one trajectory.
    """
    found: dict[tuple[str, tuple[int, ...]], int] = {}
    first_rows: list[int] = []
    live_rows = live.nonzero().flatten()
    holders: list[int] = []
    for index in live_rows.tolist():
        row = rows[index]
        holders.append(found.setdefault((row.prompt_id, row.node_ids), len(found)))
        if len(found) > len(first_rows):
            first_rows.append(index)

    prompts: dict[str, int] = {}
    roots = torch.tensor([prompts.setdefault(prompt, len(prompts)) for prompt, _ in found])
    depths = torch.tensor([len(path) for _, path in found])
    nodes = pad_ragged([path for _, path in found])
    # Sorted, the trajectories of every sub-group are neighbours.
    order = torch.from_numpy(np.lexsort([*nodes.T[::-1], roots.numpy()]))
    places = order.argsort().gather(0, torch.tensor(holders))
    depths, columns = depths.gather(0, order), torch.from_numpy(nodes.T[:, order.numpy()])
    return Forest(
        row_trajectories=torch.full((len(rows),), -1).index_copy(0, live_rows, places),
        first_rows=torch.tensor(first_rows).gather(0, order),
        depths=depths,
        levels=_build_levels(roots.gather(0, order), depths, columns),
    )


def pad_ragged(lists: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Stacks lists of integers, filled up with zeros: int64, shape (lists, longest)."""
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    padded = np.zeros((len(lists), lengths.max()), dtype=np.int64)
    filled = np.arange(padded.shape[1]) < lengths[:, None]
    padded[filled] = np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=lengths.sum())
    return padded


def _build_levels(roots: Tensor, depths: Tensor, nodes: Tensor) -> tuple[Level, ...]:
    """Refines the sub-groups level by level: a new one begins where the one above or the node changes.

    Args:
        roots: Shape (trajectories,), the prompt's number, ascending.
        depths: Shape (trajectories,).
        nodes: Shape (longest path, trajectories), sorted by prompt and then by path.
    """
    levels: list[Level] = []
    above = roots  # what every trajectory is grouped by one level up
    for depth in range(len(nodes) + 1):
        members = (depths >= depth).nonzero().flatten()
        parent = above.gather(0, members)
        begins = torch.ones(len(members), dtype=torch.bool)
        begins[1:] = parent[1:] != parent[:-1]
        if depth > 0:
            node = nodes[depth - 1].gather(0, members)
            begins[1:] |= node[1:] != node[:-1]
        groups = begins.cumsum(0) - 1
        levels.append(
            Level(
                members=members,
                groups=groups,
                sizes=torch.bincount(groups),
                parents=parent.masked_select(begins),
                leaves=(depths.gather(0, members) == depth).nonzero().flatten(),
            )
        )
        above = torch.empty_like(roots).index_copy(0, members, groups)
    return tuple(levels)


def subgroup_means(forest: Forest, values: Tensor) -> list[Tensor]:
    """Plain means over the trajectories of every sub-group.

    Args:
        forest: The trees.
        values: Float, shape (trajectories,).

    Returns:
        Per level, shape (groups,).
    """
    sums = (group_sums(values.gather(0, level.members), level.groups, len(level.sizes)) for level in forest.levels)
    return [total / level.sizes for total, level in zip(sums, forest.levels, strict=True)]


def branch_means(forest: Forest, values: Tensor) -> list[Tensor]:
    """Means from the leaves up: a node's is the plain mean of its children's, a leaf's is its trajectory's value.

    Equal to the mean over the trajectories of the sub-group weighted by the product of 1/children along the path,
    without the product, which would underflow in long thin trees. A trajectory that ends where others continue counts
    as one more child of that node.

    Args:
        forest: The trees.
        values: Float, shape (trajectories,).

    Returns:
        Per level, shape (groups,).
    """
    means: list[Tensor] = []
    below: tuple[Tensor, Tensor] | None = None  # the children's means and their parents
    for level in reversed(forest.levels):
        count = len(level.sizes)
        owners = level.groups.gather(0, level.leaves)
        shares = values.gather(0, level.members.gather(0, level.leaves))
        if below is not None:
            shares, owners = torch.cat([shares, below[0]]), torch.cat([owners, below[1]])
        mean = group_sums(shares, owners, count) / torch.bincount(owners, minlength=count)
        means.append(mean)
        below = mean, level.parents
    return means[::-1]


def count_branches(forest: Forest) -> list[Tensor]:
    """Branches of every node: its children, and the trajectory that ends at it; a fork has two or more.

    Returns:
        Per level, int64, shape (groups,).
    """
    counts = []
    for level, below in zip(forest.levels, [*forest.levels[1:], None], strict=True):
        count = torch.bincount(level.groups.gather(0, level.leaves), minlength=len(level.sizes))
        counts.append(count if below is None else count + torch.bincount(below.parents, minlength=len(level.sizes)))
    return counts


def by_trajectory(forest: Forest, values: Sequence[Tensor]) -> Tensor:
    """Hands the values of the nodes below the prompts to the trajectories through them.

    Args:
        forest: The trees.
        values: Per level from 1, shape (groups,).

    Returns:
        Float64, shape (trajectories, longest path); zero behind the end of a path.
    """
    table = torch.zeros(len(values), len(forest.depths), dtype=torch.float64)
    for column, level, value in zip(table, forest.levels[1:], values, strict=True):
        column.index_copy_(0, level.members, value.double().gather(0, level.groups))
    return table.T


def group_deviations(level: Level, values: Tensor) -> Tensor:
    """Sample standard deviation of the values within each sub-group of a level; 0 where a sub-group has one member.

    Args:
        level: One level of the trees.
        values: Float, shape (trajectories,).

    Returns:
        Shape (groups,).
    """
    own, count = values.gather(0, level.members), len(level.sizes)
    mean = (group_sums(own, level.groups, count) / level.sizes).gather(0, level.groups)
    squares = group_sums((own - mean).square(), level.groups, count)
    return (squares / (level.sizes - 1).clamp(min=1)).sqrt()


def has_spread(level: Level, values: Tensor) -> Tensor:
    """Whether the values differ within each sub-group of a level.

    Args:
        level: One level of the trees.
        values: Float, shape (trajectories,).

    Returns:
        Bool, shape (groups,).
    """
    own = values.gather(0, level.members)
    empty = torch.zeros(len(level.sizes), dtype=values.dtype)
    highest = empty.scatter_reduce(0, level.groups, own, "amax", include_self=False)
    lowest = empty.scatter_reduce(0, level.groups, own, "amin", include_self=False)
    return highest > lowest


def largest_size(level: Level, values: Tensor) -> Tensor:
    """The largest absolute value within each sub-group of a level.

    Args:
        level: One level of the trees.
        values: Float, shape (trajectories,).

    Returns:
        Shape (groups,).
    """
    own = values.gather(0, level.members).abs()
    return torch.zeros(len(level.sizes), dtype=values.dtype).scatter_reduce(0, level.groups, own, "amax")


def normalise_siblings(values: Tensor, parents: Tensor, sizes: Tensor) -> Tensor:
    """Normalises the values of two or more siblings by their mean and population standard deviation.

    An only child keeps its value; siblings of equal value become zero.

    Args:
        values: Float, shape (nodes,), the nodes of one level.
        parents: Shape (nodes,), the parent of each.
        sizes: Shape (parents,), how large the numbers are that the values of a parent's children were made of.

    Returns:
        Shape (nodes,).
    """
    count = len(sizes)
    siblings = torch.bincount(parents, minlength=count)
    mean = group_sums(values, parents, count) / siblings
    centred = values - mean.gather(0, parents)
    deviation = (group_sums(centred.square(), parents, count) / siblings).sqrt()
    # Means that are equal on paper differ in the last bits; dividing by such a spread would make noise an advantage.
    # The bits are those of the summands: means may be zero on paper, and then nothing but noise.
    scale = torch.where(deviation <= 1e-9 * sizes, torch.inf, deviation)
    return torch.where(siblings.gather(0, parents) > 1, centred / scale.gather(0, parents), values)


def group_sums(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """Sums of the values by group, shape (count,)."""
    return torch.zeros(count, dtype=values.dtype).index_add(0, groups, values)
