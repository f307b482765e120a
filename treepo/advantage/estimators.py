"""The advantage estimators over trees, by name."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from treepo.advantage.subgroups import (
    Forest,
    TreeRow,
    branch_means,
    build_forest,
    has_spread,
    largest_size,
    normalise_siblings,
    subgroup_means,
)
from treepo.advantage.tokens import Spans, node_spans, spread, whiten
from treepo.config import AdvantageConfig, SubgroupWeighting


class Estimator(Protocol):
    """Turns rewards of trajectories into one advantage per response token.

    Common to all: a padding row (mask all zero) influences nothing and gets zeros; a trajectory that occurs in several
    rows (same prompt, same path) counts once in every mean, with the reward of its first row, and its rows get the same
    advantage. Computed in float64.

    Args:
        rewards: Float, shape (batch,), or token-level rewards, shape (batch, response_length), which are summed.
        response_mask: 0 or 1, shape (batch, response_length).
        rows: The path of every row, in the order of the batch.
        options: The options `treepo.advantage.*`. `branch_weights` weighs every mean over trajectories by the product
            of 1/children along the path, so that a prefix that was forked often does not count more often.

    Returns:
        Float32, shape (batch, response_length), on the mask's device.

    Raises:
        ValueError: Shapes do not agree, a reward is not finite, a row has tokens beyond its path, or an option is set
            that the estimator does not have.
    """

    def __call__(  # noqa: D102 - the class says it
        self,
        *,
        rewards: Tensor,
        response_mask: Tensor,
        rows: Sequence[TreeRow],
        options: AdvantageConfig,
    ) -> Tensor: ...


ESTIMATORS: dict[str, Estimator] = {}
OPTIONS_READ: dict[str, frozenset[str]] = {}
"""The options `treepo.advantage.*` that each estimator reads, without the prefix."""


def register_estimator(name: str, *, reads: Collection[str]) -> Callable[[Estimator], Estimator]:
    """Puts an estimator into :data:`ESTIMATORS`.

    Args:
        name: The name by which `algorithm.adv_estimator` selects it.
        reads: The options `treepo.advantage.*` that it reads, without the prefix; a training refuses the others.

    Raises:
        ValueError: The name is taken, or there is no such option.
    """
    if unknown := set(reads) - set(AdvantageConfig.model_fields):
        raise ValueError(f"estimator {name!r} cannot read {min(unknown)!r}: treepo.advantage has no such option")

    def register(estimator: Estimator) -> Estimator:
        if name in ESTIMATORS:
            raise ValueError(f"an estimator named {name!r} is registered already")
        ESTIMATORS[name] = estimator
        OPTIONS_READ[name] = frozenset(reads)
        return estimator

    return register


@register_estimator("treepo", reads=("subgroup_weighting", "include_root", "reject_degenerate", "branch_weights"))
def treepo_advantages(
    *,
    rewards: Tensor,
    response_mask: Tensor,
    rows: Sequence[TreeRow],
    options: AdvantageConfig,
) -> Tensor:
    """Sub-group advantage of a whole trajectory (TreePO, arXiv 2508.17445, Eq. 5 to 7); see :class:`Estimator`.

    A trajectory's number is the mean of (its reward - mean reward of the sub-group) over the sub-groups it belongs to:
    the prompt group (`include_root`) and every prefix that it shares with others. The mean is plain (Eq. 5) or weighted
    by sub-group size (Eq. 6); `reject_degenerate` leaves out prefixes whose rewards do not differ (Eq. 7). All its
    tokens get that number, then all tokens of the batch are whitened.

    Degenerate cases: a prompt with a single trajectory has baseline 0; a trajectory that would be left without a term
    keeps the one of the prompt group.
    """
    _refuse_parent_discount("treepo", options)
    batch = _prepare(rewards, response_mask, rows, per_node=False)
    if batch is None:
        return torch.zeros_like(response_mask, dtype=torch.float32)
    forest = batch.forest
    means = branch_means(forest, batch.rewards) if options.branch_weights else subgroup_means(forest, batch.rewards)
    # A group of one holds no comparison: the root's baseline is then 0, deeper ones do not count.
    means[0] = means[0].masked_fill(forest.levels[0].sizes == 1, 0.0)

    total = torch.zeros_like(batch.rewards)
    weight = torch.zeros_like(batch.rewards)
    for depth in range(len(forest.levels) - 2, -1, -1):
        level = forest.levels[depth]
        if depth == 0:
            counted = torch.full_like(level.members, options.include_root, dtype=torch.bool) | (weight == 0)
        else:
            counts = level.sizes > 1
            if options.reject_degenerate:
                counts &= has_spread(level, batch.rewards)
            counted = counts.gather(0, level.groups)
        share = counted.double()
        if options.subgroup_weighting is SubgroupWeighting.GROUP_SIZE:
            share *= level.sizes.gather(0, level.groups)
        term = batch.rewards.gather(0, level.members) - means[depth].gather(0, level.groups)
        total.index_add_(0, level.members, share * term)
        weight.index_add_(0, level.members, share)
    return batch.write((total / weight)[:, None], whitened=True)


@register_estimator("treepo_segment", reads=("branch_weights", "parent_discount"))
def treepo_segment_advantages(
    *,
    rewards: Tensor,
    response_mask: Tensor,
    rows: Sequence[TreeRow],
    options: AdvantageConfig,
) -> Tensor:
    """Advantage per segment from values of tree nodes; see :class:`Estimator`.

    A leaf's value is its reward against the mean of every prefix of its path, weighted by sub-group size; an inner
    node's is the plain mean of its children's; the root's is 0. Segment k of a path of L gets value(node k) - c value
    (node k-1), c = `parent_discount`^(L + 1 - k), or 1 where that is None. Then all tokens of the batch are whitened.

    `branch_weights` changes the means of the prefixes; the values of inner nodes are free of the lean already.
    """
    batch = _prepare(rewards, response_mask, rows, per_node=True)
    if batch is None:
        return torch.zeros_like(response_mask, dtype=torch.float32)
    forest = batch.forest
    means = branch_means(forest, batch.rewards) if options.branch_weights else subgroup_means(forest, batch.rewards)
    total = torch.zeros_like(batch.rewards)
    weight = torch.zeros_like(batch.rewards)
    for level, mean in zip(forest.levels, means, strict=True):
        size = level.sizes.double().gather(0, level.groups)
        term = batch.rewards.gather(0, level.members) - mean.gather(0, level.groups)
        total.index_add_(0, level.members, size * term)
        weight.index_add_(0, level.members, size)
    values = branch_means(forest, total / weight)
    return batch.write(_segment_differences(forest, values, options.parent_discount), whitened=True)


@register_estimator("treepo_spo", reads=())
def treepo_spo_advantages(
    *,
    rewards: Tensor,
    response_mask: Tensor,
    rows: Sequence[TreeRow],
    options: AdvantageConfig,
) -> Tensor:
    """Advantage per segment from node values normalised among siblings; see :class:`Estimator`.

    A leaf's value is its reward, an inner node's the plain mean of its children's. Then the values of two or more
    siblings are normalised by their mean and population standard deviation (zero where that is zero), and segment k
    gets value(node k) - value(node k-1), the root's value being 0. No whitening.

    `branch_weights` would change nothing: the mean of the children is the mean it asks for.
    """
    _refuse_parent_discount("treepo_spo", options)
    batch = _prepare(rewards, response_mask, rows, per_node=True)
    if batch is None:
        return torch.zeros_like(response_mask, dtype=torch.float32)
    values = branch_means(batch.forest, batch.rewards)
    deeper = zip(values[1:], batch.forest.levels[1:], batch.forest.levels[:-1], strict=True)
    values[1:] = [
        normalise_siblings(value, level.parents, largest_size(above, batch.rewards)) for value, level, above in deeper
    ]
    return batch.write(_segment_differences(batch.forest, values, None), whitened=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What every estimator starts from; `rewards` has shape (trajectories,) in float64."""

    forest: Forest
    spans: Spans
    rewards: Tensor
    response_mask: Tensor

    def write(self, values: Tensor, *, whitened: bool) -> Tensor:
        """Hands the values of the trajectories, shape (trajectories, spans), to the tokens of their rows."""
        numbers = values.numpy()
        if whitened:
            numbers = whiten(numbers, self.spans.counts[self.forest.first_rows.numpy(), : numbers.shape[1]])
        by_row = np.zeros(self.spans.lengths.shape)
        holders = self.forest.row_trajectories.numpy()
        by_row[holders >= 0, : numbers.shape[1]] = numbers[holders[holders >= 0]]
        return spread(by_row, self.spans, self.response_mask)


def _prepare(rewards: Tensor, response_mask: Tensor, rows: Sequence[TreeRow], *, per_node: bool) -> _Batch | None:
    """Checks the input and builds the trees; None where no row has a token."""
    if response_mask.ndim != 2 or len(rows) != len(response_mask):
        raise ValueError(
            f"response_mask has shape {tuple(response_mask.shape)}, expected (batch, response_length) with "
            f"batch = {len(rows)}, the number of rows"
        )
    if rewards.shape not in (response_mask.shape, response_mask.shape[:1]):
        raise ValueError(
            f"rewards has shape {tuple(rewards.shape)}, expected {tuple(response_mask.shape)} or ({len(rows)},)"
        )
    if response_mask.numel() == 0:
        return None
    spans = node_spans(rows, response_mask, per_node=per_node)
    live = torch.from_numpy(spans.counts.any(axis=1))
    if not live.any():
        return None
    forest = build_forest(rows, live)
    scalars = (rewards.sum(1) if rewards.ndim == 2 else rewards).detach().cpu().double()
    broken = (live & ~scalars.isfinite()).nonzero()
    if len(broken):
        raise ValueError(f"row {int(broken[0])}: the reward is not finite")
    return _Batch(forest=forest, spans=spans, rewards=scalars.gather(0, forest.first_rows), response_mask=response_mask)


def _segment_differences(forest: Forest, values: list[Tensor], parent_discount: float | None) -> Tensor:
    """value(node k) - c value(node k-1) for every segment k, shape (trajectories, longest path)."""
    differences = torch.zeros(len(forest.levels) - 1, len(forest.depths), dtype=torch.float64)
    for depth, level in enumerate(forest.levels[1:], start=1):
        own = values[depth].gather(0, level.groups)
        if depth > 1:
            parent = values[depth - 1].gather(0, level.parents.gather(0, level.groups))
            if parent_discount is not None:
                parent = parent * parent_discount ** (forest.depths.gather(0, level.members) + 1 - depth)
            own = own - parent
        differences[depth - 1].index_copy_(0, level.members, own)
    return differences.T


def _refuse_parent_discount(name: str, options: AdvantageConfig) -> None:
    if options.parent_discount is not None:
        raise ValueError(
            f"parent_discount={options.parent_discount} has no meaning for {name}; only treepo_segment has it"
        )
