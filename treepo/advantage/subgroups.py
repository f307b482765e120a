"""The trees of a batch as tensors: which trajectories share which prefix, and means over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

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
    """

    prompt_id: str
    node_ids: tuple[int, ...]
    node_lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """All prefixes of one depth; a prefix stands for the sub-group of trajectories that share it.

    Attributes:
        members: Shape (members,), the trajectories whose path is at least this deep, ascending.
        groups: Shape (members,), the sub-group of each member.
        sizes: Shape (groups,), trajectories in each sub-group.
        parents: Shape (groups,), the sub-group one level up; empty at depth 0.
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
    trajectories: dict[tuple[str, tuple[int, ...]], int] = {}
    first_rows: list[int] = []
    row_trajectories = [-1] * len(rows)
    for index in live.nonzero().flatten().tolist():
        row = rows[index]
        found = trajectories.setdefault((row.prompt_id, row.node_ids), len(trajectories))
        if found == len(first_rows):
            first_rows.append(index)
        row_trajectories[index] = found

    prompts: dict[str, int] = {}
    roots = [prompts.setdefault(prompt, len(prompts)) for prompt, _ in trajectories]
    depths = torch.tensor([len(path) for _, path in trajectories], dtype=torch.int64)
    flat = torch.tensor(list(chain.from_iterable(path for _, path in trajectories)), dtype=torch.int64)
    return Forest(
        row_trajectories=torch.tensor(row_trajectories, dtype=torch.int64),
        first_rows=torch.tensor(first_rows, dtype=torch.int64),
        depths=depths,
        levels=_build_levels(torch.tensor(roots, dtype=torch.int64), depths, flat),
    )


def _build_levels(roots: Tensor, depths: Tensor, flat: Tensor) -> tuple[Level, ...]:
    """Refines the sub-groups level by level.

    Args:
        roots: Shape (trajectories,), the prompt's number.
        depths: Shape (trajectories,).
        flat: Shape (sum of depths,), the node ids of all paths one after the other.
    """
    # Ids become small codes so that (sub-group, node) fits one integer whatever the ids are.
    distinct, codes = torch.unique(flat, return_inverse=True)
    starts = depths.cumsum(0) - depths
    everyone = torch.arange(len(depths))
    groups_of = roots.clone()  # the sub-group of every trajectory at the level above
    levels = [_level(everyone, roots, parents=torch.empty(0, dtype=torch.int64), depths=depths, depth=0)]
    for depth in range(1, int(depths.max()) + 1):
        members = (depths >= depth).nonzero().flatten()
        keys = groups_of[members] * len(distinct) + codes[starts[members] + depth - 1]
        prefixes, groups = torch.unique(keys, return_inverse=True)
        groups_of[members] = groups
        levels.append(_level(members, groups, parents=prefixes // len(distinct), depths=depths, depth=depth))
    return tuple(levels)


def _level(members: Tensor, groups: Tensor, *, parents: Tensor, depths: Tensor, depth: int) -> Level:
    leaves = (depths[members] == depth).nonzero().flatten()
    return Level(members=members, groups=groups, sizes=torch.bincount(groups), parents=parents, leaves=leaves)


def subgroup_means(forest: Forest, values: Tensor) -> list[Tensor]:
    """Plain means over the trajectories of every sub-group.

    Args:
        forest: The trees.
        values: Float, shape (trajectories,).

    Returns:
        Per level, shape (groups,).
    """
    return [_group_sums(values[level.members], level.groups, len(level.sizes)) / level.sizes for level in forest.levels]


def branch_means(forest: Forest, values: Tensor) -> list[Tensor]:
    """Means from the leaves up: a node's is the plain mean of its children's, a leaf's is its trajectory's value.

    Equal to the mean over the trajectories of the sub-group weighted by the product of 1/children along the path,
    without the product, which would underflow in long thin trees. A trajectory that ends where others go on counts as
    one more child of that node.

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
        owners, shares = level.groups[level.leaves], values[level.members[level.leaves]]
        if below is not None:
            shares, owners = torch.cat([shares, below[0]]), torch.cat([owners, below[1]])
        mean = _group_sums(shares, owners, count) / torch.bincount(owners, minlength=count)
        means.append(mean)
        below = mean, level.parents
    return means[::-1]


def has_spread(level: Level, values: Tensor) -> Tensor:
    """Whether the values differ within each sub-group of a level.

    Args:
        level: One level of the trees.
        values: Float, shape (trajectories,).

    Returns:
        Bool, shape (groups,).
    """
    own = values[level.members]
    empty = torch.zeros(len(level.sizes), dtype=values.dtype)
    highest = empty.scatter_reduce(0, level.groups, own, "amax", include_self=False)
    lowest = empty.scatter_reduce(0, level.groups, own, "amin", include_self=False)
    return highest > lowest


def normalise_siblings(values: Tensor, parents: Tensor) -> Tensor:
    """Normalises the values of two or more siblings by their mean and population standard deviation.

    An only child keeps its value; siblings of equal value become zero.

    Args:
        values: Float, shape (nodes,), the nodes of one level.
        parents: Shape (nodes,), the parent of each.

    Returns:
        Shape (nodes,).
    """
    count = int(parents.max()) + 1
    siblings = torch.bincount(parents, minlength=count)
    mean = _group_sums(values, parents, count) / siblings
    centred = values - mean[parents]
    deviation = (_group_sums(centred.square(), parents, count) / siblings).sqrt()
    # Means that are equal on paper differ in the last bits; dividing by such a spread would make noise an advantage.
    largest = torch.zeros_like(mean).scatter_reduce(0, parents, values.abs(), "amax")
    flat = deviation <= 1e-9 * largest
    normalised = torch.where(flat[parents], 0.0, centred / deviation.masked_fill(flat, 1.0)[parents])
    return torch.where(siblings[parents] > 1, normalised, values)


def _group_sums(values: Tensor, groups: Tensor, count: int) -> Tensor:
    return torch.zeros(count, dtype=values.dtype).index_add(0, groups, values)
