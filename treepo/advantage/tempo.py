"""`tempo`: the advantage of TEMPO."""

import torch
from torch import Tensor

from treepo.advantage.batch import Batch, SpanKind
from treepo.advantage.forest import by_trajectory, count_branches, subgroup_means
from treepo.advantage.registry import register_estimator
from treepo.advantage.treepo import prompt_deviations
from treepo.config import AdvantageConfig


@register_estimator("tempo", reads=("shared_tokens",), spans=SpanKind.FIRST_TOKEN, whitened=False)
def tempo_credit(batch: Batch, options: AdvantageConfig) -> Tensor:
    """GRPO plus the change of value where trajectories part (TEMPO, arXiv 2509.18314).

    With V(s) the mean reward of the trajectories through a prefix s, and mean and std over the prompt's group:

        A(i, t) = (R(i) - mean + V(s(t+1)) - V(s(t))) / std

    V changes only at the token where a branch leaves a fork, so that only this token gets the second difference. The
    paper finds forks among independent samples by comparing tokens; here they are the tree's own, and a branch leaves
    at its first token. Sample standard deviation plus 1e-6; mean 0 and deviation 1 for a prompt with a single
    trajectory, as in verl's GRPO. No whitening.
    """
    forest = batch.forest
    root = forest.levels[0]
    values = subgroup_means(forest, batch.rewards)
    branches = count_branches(forest)
    steps = []
    for depth, level in enumerate(forest.levels[1:], start=1):
        change = values[depth] - values[depth - 1].gather(0, level.parents)
        steps.append(torch.where(branches[depth - 1].gather(0, level.parents) > 1, change, 0.0))
    baseline = values[0].masked_fill(root.sizes == 1, 0.0).gather(0, root.groups)
    whole = (batch.rewards - baseline)[:, None].expand(-1, len(steps))
    first = whole + by_trajectory(forest, steps)
    return torch.stack([first, whole], dim=2).flatten(1) / prompt_deviations(batch)[:, None]
