"""`treepo_branch`: every branch against the others of its fork, with noisy baselines shrunk to what is known above."""

from dataclasses import dataclass

import torch
from torch import Tensor

from treepo.advantage.batch import Batch, SpanKind
from treepo.advantage.forest import (
    Forest,
    branch_means,
    by_trajectory,
    count_branches,
    group_deviations,
    group_sums,
    subgroup_means,
)
from treepo.advantage.registry import register_estimator
from treepo.config import AdvantageConfig
from treepo.config.policies import AdvantageScale


@register_estimator(
    "treepo_branch",
    reads=("branch_weights", "shrink", "scale", "shared_tokens"),
    spans=SpanKind.NODE,
    whitened=False,
)
def treepo_branch_credit(batch: Batch, options: AdvantageConfig) -> Tensor:
    """Advantage of an edge: the reward below it less a baseline that nothing below it enters.

    The tree is compressed to its forks. A fork has two or more branches; a trajectory that ends at a fork is one of
    them. For an edge e below fork k, with C the other branches of that fork:

        V(c)  = mean reward below c (by trajectories, or by branches under `branch_weights`)
        m(k)  = mean of V over C
        b(-1) = mean reward of the other prompts of the batch
        b(k)  = (|C| m(k) + shrink b(k-1)) / (|C| + shrink)
        A     = V(e) - b(e) for every token of the edge; above the first fork b = b(-1)

    Since b(e) is independent of what happens in and below e, the expected gradient has the direction of the true one
    at every depth, as far as the number of trajectories below an edge does not depend on their rewards (and exactly so
    for a `shrink` that is a number and a `scale` of `none`).

    `shrink=auto` takes it from the batch: see :func:`baselines`. `scale` divides all advantages by the standard
    deviation of the rewards of the batch, or each prompt's by its own, whose variance is first shrunk to the batch's
    as (n - 1) observations against `shrink`. No centring.

    In a batch of a single prompt there is no b(-1): the first fork's baseline is m(0), and above it A = 0.
    """
    forest = batch.forest
    values = (branch_means if options.branch_weights else subgroup_means)(forest, batch.rewards)
    found = baselines(forest, batch.rewards, values, shrink=options.shrink)
    advantages = [value - baseline for value, baseline in zip(values[1:], found.by_level, strict=True)]
    numbers = by_trajectory(forest, advantages)
    if options.scale is AdvantageScale.NONE:
        return numbers
    return numbers / _deviations(batch, options.scale, found.prompt_shrink)[:, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """Baselines of all nodes.

    Attributes:
        by_level: Per level from 1, shape (groups,).
        prompt_shrink: What the baselines of first forks were shrunk with.
    """

    by_level: list[Tensor]
    prompt_shrink: float


def baselines(forest: Forest, rewards: Tensor, values: list[Tensor], *, shrink: float | str) -> Baselines:
    """The baseline b of every node, from the prompts down.

    With `shrink="auto"` it is within / between: the variance of a fork's branches about their mean, over the mean
    square error of b(k-1) as a guess of the fork's true value. Both are estimated without bias: the first from the
    spread among branches, the second from the products (m(k) - b(k-1)) (V(e) - b(k-1)), in which the noise of V(e) is
    independent of that of m(k). First forks, which are shrunk to other prompts, have a pair of their own, deeper ones
    another; each is estimated from the forks of its kind up to the depth in question.

    Args:
        forest: The trees.
        rewards: Shape (trajectories,).
        values: Per level, the nodes' mean rewards, shape (groups,).
        shrink: A number of branches, at least 0, or `auto`.

    Returns:
        The baselines.
    """
    root = forest.levels[0]
    branches = count_branches(forest)
    lone = len(root.sizes) == 1
    sums = group_sums(rewards.gather(0, root.members), root.groups, len(root.sizes))
    above = values[0] if lone else (rewards.sum() - sums) / (len(rewards) - root.sizes)
    forked = torch.zeros_like(root.sizes, dtype=torch.bool)  # whether there is a fork above
    first, deeper = Components(), Components()
    by_level: list[Tensor] = []
    for up, here, count, value in zip(forest.levels, forest.levels[1:], branches, values[1:], strict=False):
        parents = here.parents
        ends = up.groups.gather(0, up.leaves)  # a trajectory that ends here is one more branch
        ended = rewards.gather(0, up.members.gather(0, up.leaves))
        sums = group_sums(value, parents, len(count)) + group_sums(ended, ends, len(count))
        rest = (count.gather(0, parents) - 1).double()
        mean = (sums.gather(0, parents) - value) / rest.clamp(min=1)
        prior, below = above.gather(0, parents), forked.gather(0, parents)
        if shrink == "auto":
            squares = group_sums(value.square(), parents, len(count)) + group_sums(ended.square(), ends, len(count))
            within = (squares - sums.square() / count).clamp(min=0)
            products = (mean - prior) * (value - prior)
            first = first.plus(within, count, ~forked, products, (rest > 0) & ~below)
            deeper = deeper.plus(within, count, forked, products, (rest > 0) & below)
            strength = torch.where(below, deeper.shrink, first.shrink).double()
        else:
            strength = torch.full_like(rest, float(shrink))
        if lone:  # nothing is known above its first fork
            strength = strength.masked_fill(~below, 0.0)
        weight = torch.where(rest > 0, rest / (rest + strength).clamp(min=1), 0.0)
        above = prior + weight * (mean - prior)
        forked = below | (rest > 0)
        # A lone prompt above its first fork: a baseline of its own value leaves nothing.
        by_level.append(torch.where(forked, above, value) if lone else above)
    return Baselines(by_level=by_level, prompt_shrink=first.shrink if shrink == "auto" else float(shrink))


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Sums that the variance components of forks are estimated from.

    Attributes:
        within: Squares of branches about the mean of their fork.
        freedom: Branches less forks.
        products: Of the others' and the own branch's difference from the baseline above.
        pairs: How many of them.
    """

    within: float = 0.0
    freedom: float = 0.0
    products: float = 0.0
    pairs: int = 0

    def plus(self, within: Tensor, branches: Tensor, forks: Tensor, products: Tensor, pairs: Tensor) -> "Components":
        """With the sums of one level: over the nodes that `forks` marks, and the children that `pairs` marks."""
        return Components(
            within=self.within + float(within.masked_select(forks).sum()),
            freedom=self.freedom + float((branches - 1).clamp(min=0).masked_select(forks).sum()),
            products=self.products + float(products.masked_select(pairs).sum()),
            pairs=self.pairs + int(pairs.sum()),
        )

    @property
    def shrink(self) -> float:
        """Within over between; 0 where branches do not differ, infinite where forks do not differ beyond noise."""
        if self.within <= 0:
            return 0.0
        between = self.products / self.pairs if self.pairs else 0.0
        return self.within / self.freedom / between if between > 0 else torch.inf


def _deviations(batch: Batch, scale: AdvantageScale, shrink: float) -> Tensor:
    """What the advantages of every trajectory are divided by, shape (trajectories,).

    Infinite, which makes them 0, where no rewards differ.
    """
    root = batch.forest.levels[0]
    whole = batch.rewards.var(correction=1) if len(batch.rewards) > 1 else batch.rewards.new_zeros(())
    variance = whole.expand(len(root.sizes))
    if scale is AdvantageScale.PROMPT:
        freedom = (root.sizes - 1).double()
        # With a shrink of 0 a lone trajectory has the batch's.
        own = torch.where(freedom > 0, freedom / (freedom + shrink) if shrink > 0 else 1.0, 0.0)
        variance = own * group_deviations(root, batch.rewards).square() + (1 - own) * variance
    # Rewards that are equal differ in the last bits of their mean at most.
    largest = batch.rewards.abs().max()
    return torch.where(variance <= (1e-9 * largest) ** 2, torch.inf, variance).sqrt().gather(0, root.groups)
