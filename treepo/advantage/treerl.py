"""`treerl`: the process rewards of TreeRL."""

import torch
from torch import Tensor

from treepo.advantage.batch import Batch, SpanKind
from treepo.advantage.forest import by_trajectory, count_branches, subgroup_means
from treepo.advantage.registry import register_estimator
from treepo.config import AdvantageConfig


@register_estimator("treerl", reads=(), spans=SpanKind.NODE, whitened=False)
def treerl_credit(batch: Batch, options: AdvantageConfig) -> Tensor:
    """Global plus local advantage over the square root of the leaves (TreeRL, arXiv 2506.11902, section 3).

    V(s) is the mean reward of the trajectories through s, L(s) their number; the paper's steps are the pieces between
    forks, so that parent(s) is the fork above s:

        A(s) = ((V(s) - V(root)) + (V(s) - V(parent(s)))) / sqrt(|L(s)|)

    Every token of the step gets that number. No whitening. The square root is the paper's own weight for shared
    tokens, so that `shared_tokens` is not read.
    """
    forest = batch.forest
    values = subgroup_means(forest, batch.rewards)
    branches = count_branches(forest)
    numbers: list[Tensor] = []
    root, fork = values[0], values[0]  # of every node: V of its prompt and of the fork above
    for depth, level in enumerate(forest.levels[1:], start=1):
        parents = level.parents
        root = root.gather(0, parents)
        forked = branches[depth - 1].gather(0, parents) > 1
        fork = torch.where(forked, values[depth - 1].gather(0, parents), fork.gather(0, parents))
        numbers.append((2 * values[depth] - root - fork) / level.sizes.double().sqrt())
    return by_trajectory(forest, numbers)
