"""`tree_grpo`: the advantage of Tree-GRPO."""

import torch
from torch import Tensor

from treepo.advantage.batch import Batch, SpanKind
from treepo.advantage.forest import group_deviations, subgroup_means
from treepo.advantage.registry import register_estimator
from treepo.advantage.treepo import DEVIATION_EPSILON
from treepo.config import AdvantageConfig


@register_estimator("tree_grpo", reads=("shared_tokens",), spans=SpanKind.PATH, whitened=False)
def tree_grpo_credit(batch: Batch, options: AdvantageConfig) -> Tensor:
    """GRPO within the tree plus GRPO among all trajectories of the prompt (Tree-GRPO, arXiv 2509.21240, section 3).

        A(i) = (R(i) - mean of R over T) / std of R over T + (R(i) - mean of R over G) / std of R over G

    G are the trajectories of the prompt, T those of i's tree: the paper grows several trees for a prompt, each from
    one first answer; here a tree is what shares the first node. Sample standard deviations plus 1e-6. Every token of i
    gets A(i). No whitening.

    Degenerate cases: a trajectory that is alone in its tree has no term from it; one that is alone under its prompt
    has the term R(i), as in verl's GRPO.
    """
    forest = batch.forest
    means = subgroup_means(forest, batch.rewards)
    total = torch.zeros_like(batch.rewards)
    for depth, lone in ((0, batch.rewards), (1, torch.zeros_like(batch.rewards))):
        level = forest.levels[depth]
        deviation = group_deviations(level, batch.rewards) + DEVIATION_EPSILON
        own = batch.rewards.gather(0, level.members)
        term = (own - means[depth].gather(0, level.groups)) / deviation.gather(0, level.groups)
        alone = level.sizes.gather(0, level.groups) == 1
        total.index_add_(0, level.members, torch.where(alone, lone.gather(0, level.members), term))
    return total[:, None]
