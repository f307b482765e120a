"""`tree_loo`: leave-one-out GRPO on trees."""

import torch
from torch import Tensor

from treepo.advantage.batch import Batch, SpanKind
from treepo.advantage.forest import subgroup_means
from treepo.advantage.registry import register_estimator
from treepo.advantage.treepo import prompt_deviations
from treepo.config import AdvantageConfig


@register_estimator("tree_loo", reads=("shared_tokens",), spans=SpanKind.PATH, whitened=False)
def tree_loo_credit(batch: Batch, options: AdvantageConfig) -> Tensor:
    """Every trajectory against the others of its prompt (RLOO, arXiv 2402.14740), over GRPO's deviation.

        A(i) = (R(i) - mean of R over the prompt's other trajectories) / std of R over all of them

    It leaves out i itself, but not the trajectories that share i's tokens, whose rewards are i's luck as well; that is
    what :func:`treepo.advantage.treepo_branch.treepo_branch_credit` does. Sample standard deviation plus 1e-6; mean 0
    and deviation 1 for a prompt with a single trajectory. Every token of i gets A(i). No whitening.
    """
    root = batch.forest.levels[0]
    sizes = root.sizes.double()
    # R - (n mean - R) / (n - 1) = n / (n - 1) (R - mean)
    factor = torch.where(sizes > 1, sizes / (sizes - 1).clamp(min=1), 1.0).gather(0, root.groups)
    baseline = subgroup_means(batch.forest, batch.rewards)[0].masked_fill(root.sizes == 1, 0.0).gather(0, root.groups)
    return (factor * (batch.rewards - baseline) / prompt_deviations(batch))[:, None]
