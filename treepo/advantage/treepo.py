"""`treepo`: the advantage of the paper."""

import torch
from torch import Tensor

from treepo.advantage.batch import Batch, SpanKind
from treepo.advantage.forest import branch_means, group_deviations, has_spread, subgroup_means
from treepo.advantage.registry import register_estimator
from treepo.config import AdvantageConfig, SubgroupWeighting

DEVIATION_EPSILON = 1e-6
"""What GRPO adds to the standard deviation of a group before it divides by it."""


@register_estimator(
    "treepo",
    reads=(
        "subgroup_weighting",
        "include_root",
        "reject_degenerate",
        "branch_weights",
        "prompt_deviation",
        "shared_tokens",
    ),
    spans=SpanKind.PATH,
    whitened=True,
)
def treepo_credit(batch: Batch, options: AdvantageConfig) -> Tensor:
    """Sub-group advantage of a whole trajectory (TreePO, arXiv 2508.17445, Eq. 5 to 7).

    With G(j, i) the trajectories of the prompt whose first j nodes are those of i:

        A(i) = mean over j of (R(i) - mean of R over G(j, i))

    over the prompt group j = 0 (`include_root`) and every prefix that i shares with others. The mean over j is plain
    (Eq. 5) or weighted by the size of G(j, i) (Eq. 6); `reject_degenerate` leaves out prefixes whose rewards do not
    differ (Eq. 7). `prompt_deviation` divides A(i) by the sample standard deviation of the prompt's rewards plus 1e-6,
    as GRPO does. All tokens of i get that number, then all tokens of the batch are whitened.

    Degenerate cases: a prompt with a single trajectory has baseline 0 and deviation 1; a trajectory that would be left
    without a term keeps the one of the prompt group.
    """
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
    numbers = total / weight
    if options.prompt_deviation:
        numbers = numbers / prompt_deviations(batch)
    return numbers[:, None]


def prompt_deviations(batch: Batch) -> Tensor:
    """What GRPO divides the numbers of every trajectory by: its group's sample standard deviation plus 1e-6.

    Returns:
        Shape (trajectories,); 1 where the prompt has a single trajectory, as in verl.
    """
    root = batch.forest.levels[0]
    deviations = (group_deviations(root, batch.rewards) + DEVIATION_EPSILON).masked_fill(root.sizes == 1, 1.0)
    return deviations.gather(0, root.groups)
