"""`treepo_segment`: advantages of segments from values of nodes."""

import torch
from torch import Tensor

from treepo.advantage.batch import Batch, SpanKind
from treepo.advantage.forest import Forest, branch_means, subgroup_means
from treepo.advantage.registry import register_estimator
from treepo.config import AdvantageConfig


@register_estimator(
    "treepo_segment", reads=("branch_weights", "parent_discount", "shared_tokens"), spans=SpanKind.NODE, whitened=True
)
def treepo_segment_credit(batch: Batch, options: AdvantageConfig) -> Tensor:
    """Advantage per segment from values of tree nodes (the published implementation's).

    A leaf's value is its reward against the mean of every prefix p of its path, weighted by the trajectories through p;
    an inner node's is the plain mean of its children's; the root's is 0. Segment k of a path of L gets

        A(k) = value(node k) - c value(node k-1),   c = `parent_discount`^(L + 1 - k), or 1 where that is None

    Then all tokens of the batch are whitened. `branch_weights` changes the means of the prefixes; the values of inner
    nodes are free of the lean already.
    """
    forest = batch.forest
    means = branch_means(forest, batch.rewards) if options.branch_weights else subgroup_means(forest, batch.rewards)
    total = torch.zeros_like(batch.rewards)
    weight = torch.zeros_like(batch.rewards)
    for level, mean in zip(forest.levels, means, strict=True):
        size = level.sizes.double().gather(0, level.groups)
        term = batch.rewards.gather(0, level.members) - mean.gather(0, level.groups)
        total.index_add_(0, level.members, size * term)
        weight.index_add_(0, level.members, size)
    return segment_differences(forest, branch_means(forest, total / weight), options.parent_discount)


def segment_differences(forest: Forest, values: list[Tensor], parent_discount: float | None) -> Tensor:
    """value(node k) - c value(node k-1) for every segment k, the root's value being 0.

    Args:
        forest: The trees.
        values: Per level, shape (groups,).
        parent_discount: Base of c; None for c = 1.

    Returns:
        Float64, shape (trajectories, longest path).
    """
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
