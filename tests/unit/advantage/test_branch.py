"""`treepo_branch`: its definition, that its gradient is the true one, and its degenerate cases."""

import itertools
import statistics
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
import torch
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from tree_batches import Batch, Definitions, Path, batches, prefixes

from treepo.advantage import ESTIMATORS, TreeRow
from treepo.config import AdvantageConfig
from treepo.config.policies import AdvantageScale, SharedTokens

INFINITE = float("inf")


class Branches(Definitions):
    """The definition fork by fork; in exact fractions where `shrink` is one."""

    def __init__(self, batch: Batch, *, branch_weights: bool, shrink: Fraction | str) -> None:
        super().__init__(batch, branch_weights=branch_weights)
        self.shrink = shrink
        self.found: dict[Path, float | Fraction | None] = {}
        self.forks = {p for path in self.reward for p in prefixes(path) if self.children(p) > 1}

    def branches(self, fork: Path) -> dict[Path | None, Fraction]:
        """The values of a fork's branches; None stands for a trajectory that ends there."""
        values: dict[Path | None, Fraction] = {}
        for node in self.next_nodes(fork):
            child = (fork[0], (*fork[1], node))
            values[child] = self.mean(child)
        if fork in self.reward:
            values[None] = self.reward[fork]
        return values

    def fork_above(self, prefix: Path) -> Path | None:
        above = [p for p in prefixes(prefix) if p != prefix and p in self.forks]
        return above[-1] if above else None

    def others(self, prompt: str) -> Fraction | None:
        rest = [reward for path, reward in self.reward.items() if path[0] != prompt]
        return sum(rest, Fraction(0)) / len(rest) if rest else None

    def edge(self, prefix: Path, fork: Path) -> Path:
        """The branch of the fork that leads to a prefix."""
        return prefix[0], prefix[1][: len(fork[1]) + 1]

    def baseline(self, prefix: Path) -> float | Fraction | None:
        fork = self.fork_above(prefix)
        if fork is None:
            return self.others(prefix[0])
        edge = self.edge(prefix, fork)
        if edge not in self.found:
            rest = [value for branch, value in self.branches(fork).items() if branch != edge]
            mean, prior = sum(rest, Fraction(0)) / len(rest), self.baseline(fork)
            strength = self.strength(fork)
            if prior is None:
                self.found[edge] = mean
            elif strength == INFINITE:
                self.found[edge] = prior
            else:
                self.found[edge] = (len(rest) * mean + strength * prior) / (len(rest) + strength)
        return self.found[edge]

    def strength(self, fork: Path) -> Any:
        if isinstance(self.shrink, Fraction):
            return self.shrink
        first = self.fork_above(fork) is None
        pool = [f for f in self.forks if (self.fork_above(f) is None) == first and len(f[1]) <= len(fork[1])]
        within, freedom, products = Fraction(0), 0, []
        for other in pool:
            values = self.branches(other)
            mean = sum(values.values(), Fraction(0)) / len(values)
            within += sum(((value - mean) ** 2 for value in values.values()), Fraction(0))
            freedom += len(values) - 1
            prior = self.baseline(other)
            for edge, value in values.items():
                if edge is not None and prior is not None:
                    rest = (sum(values.values(), Fraction(0)) - value) / (len(values) - 1)
                    products.append((rest - prior) * (value - prior))
        between = sum(products) / len(products) if products else 0.0
        if within == 0:
            return 0.0
        return float(within) / freedom / between if between > 1e-12 else INFINITE

    def numbers(self, path: Path) -> list[float]:
        found = []
        for prefix in list(prefixes(path))[1:]:
            baseline = self.baseline(prefix)
            found.append(0.0 if baseline is None else float(self.mean(prefix) - baseline))
        return found

    def divisor(self, path: Path, scale: AdvantageScale) -> float:
        rewards = [float(reward) for reward in self.reward.values()]
        whole = statistics.variance(rewards) if len(rewards) > 1 else 0.0
        if scale is AdvantageScale.NONE:
            return 1.0
        if scale is AdvantageScale.BATCH:
            return whole**0.5 or INFINITE
        own = [float(self.reward[i]) for i in self.through((path[0], ()))]
        if len(own) == 1:
            return whole**0.5 or INFINITE
        assert isinstance(self.shrink, Fraction)
        freedom, k = len(own) - 1, float(self.shrink)
        return ((freedom * statistics.variance(own) + k * whole) / (freedom + k)) ** 0.5 or INFINITE


@settings(max_examples=examples(40), deadline=None)
@given(
    batch=batches(),
    shrink=st.sampled_from([Fraction(0), Fraction(1, 2), Fraction(2), Fraction(7)]),
    scale=st.sampled_from(AdvantageScale),
    shared=st.sampled_from([(SharedTokens.PER_ROW, 0.0), (SharedTokens.SQRT, 0.5), (SharedTokens.ONCE, 1.0)]),
    branch_weights=st.booleans(),
)
def test_treepo_branch_is_its_definition(
    batch: Batch,
    shrink: Fraction,
    scale: AdvantageScale,
    shared: tuple[SharedTokens, float],
    branch_weights: bool,
) -> None:
    definitions = Branches(batch, branch_weights=branch_weights, shrink=shrink)

    def numbers(path: Path) -> list[float]:
        return [number / definitions.divisor(path, scale) for number in definitions.numbers(path)]

    options = AdvantageConfig(shrink=float(shrink), scale=scale, shared_tokens=shared[0], branch_weights=branch_weights)
    expected = definitions.tokens(numbers, whitened=False, shared_power=shared[1])
    torch.testing.assert_close(estimate(batch, options), expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=examples(30), deadline=None)
@given(batch=batches(), branch_weights=st.booleans())
def test_shrink_auto_is_the_ratio_of_the_variance_components(batch: Batch, branch_weights: bool) -> None:
    definitions = Branches(batch, branch_weights=branch_weights, shrink="auto")
    expected = definitions.tokens(definitions.numbers, whitened=False)
    options = AdvantageConfig(shrink="auto", scale=AdvantageScale.NONE, branch_weights=branch_weights)
    torch.testing.assert_close(estimate(batch, options), expected, atol=1e-5, rtol=1e-5)


def estimate(batch: Batch, options: AdvantageConfig) -> Tensor:
    rewards, mask = batch.tensors()
    return ESTIMATORS["treepo_branch"](rewards=rewards, response_mask=mask, rows=batch.rows, options=options)


# A process of two tokens, each 0 or 1: P(first = 1), P(second = 1 | first), and the reward of every response.
FIRST = 0.6
SECOND = {0: 0.3, 1: 0.8}
REWARD = {(0, 0): 0.1, (0, 1): 0.9, (1, 0): 0.35, (1, 1): -0.4}
OTHER_PROMPT = {1.0: 0.25, 0.0: 0.75}
"""Rewards of the other prompt's only response, with their probabilities."""
SHAPES = {"2 x 2": (2, 2), "3 and 1": (3, 1), "1 and 3": (1, 3)}
"""Leaves below each of the first tokens of a tree."""


def probability(chance: float, token: int) -> float:
    return chance if token else 1 - chance


def score(chance: float, token: int) -> float:
    """The derivative of the token's log-probability by its logit."""
    return token - chance


def outcomes(shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """All first tokens and, leaf by leaf, all second tokens of a tree."""
    leaves = sum(shape)
    yield from itertools.product(itertools.product((0, 1), repeat=len(shape)), itertools.product((0, 1), repeat=leaves))


def expected_gradients(shape: tuple[int, ...], options: AdvantageConfig, estimator: str) -> tuple[Tensor, Tensor]:
    """Estimated and true gradient of prompt p by (first logit, second logit after 0, after 1), over all outcomes.

    The other prompt's reward takes all of its values, too.
    """
    owner = [branch for branch, count in enumerate(shape) for _ in range(count)]
    rows = [
        TreeRow(prompt_id="p", node_ids=(branch, 10 + leaf), node_lengths=(1, 1)) for leaf, branch in enumerate(owner)
    ]
    rows.append(TreeRow(prompt_id="q", node_ids=(0,), node_lengths=(2,)))
    mask = torch.ones(len(rows), 2)
    found, true = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for first, second in itertools.product((0, 1), repeat=2):
        chance = probability(FIRST, first) * probability(SECOND[first], second) * REWARD[first, second]
        true[0] += chance * score(FIRST, first)
        true[1 + first] += chance * score(SECOND[first], second)
    for firsts, seconds in outcomes(shape):
        chance = 1.0
        for token in firsts:
            chance *= probability(FIRST, token)
        for branch, token in zip(owner, seconds, strict=True):
            chance *= probability(SECOND[firsts[branch]], token)
        own = [REWARD[firsts[branch], token] for branch, token in zip(owner, seconds, strict=True)]
        for other, other_chance in OTHER_PROMPT.items():
            advantages = ESTIMATORS[estimator](
                rewards=torch.tensor([*own, other], dtype=torch.float64),
                response_mask=mask,
                rows=rows,
                options=options,
            ).double()
            for leaf, branch in enumerate(owner):
                weight = chance * other_chance
                found[0] += weight * advantages[leaf, 0] * score(FIRST, firsts[branch])
                found[1 + firsts[branch]] += weight * advantages[leaf, 1] * score(SECOND[firsts[branch]], seconds[leaf])
    return found, true


@pytest.mark.parametrize("branch_weights", [False, True])
@pytest.mark.parametrize("shrink", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_expected_gradient_is_the_true_one_at_every_depth(
    shape: tuple[int, ...], shrink: float, branch_weights: bool
) -> None:
    options = AdvantageConfig(shrink=shrink, scale=AdvantageScale.NONE, branch_weights=branch_weights)
    found, true = expected_gradients(shape, options, "treepo_branch")
    torch.testing.assert_close(found / sum(shape), true, atol=1e-6, rtol=1e-6)


def test_a_credit_that_the_own_branch_enters_points_elsewhere() -> None:
    """What the test above would find."""
    found, true = expected_gradients((2, 2), AdvantageConfig(), "treerl")
    assert (found / found.norm() - true / true.norm()).abs().max() > 0.05


def test_tokens_that_count_once_keep_the_direction_within_a_depth() -> None:
    options = AdvantageConfig(scale=AdvantageScale.NONE, shared_tokens=SharedTokens.ONCE)
    found, true = expected_gradients((2, 2), options, "treepo_branch")
    torch.testing.assert_close(found[0] / 2, true[0], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(found[1:] / 4, true[1:], atol=1e-6, rtol=1e-6)


def row(prompt: str, *nodes: int) -> TreeRow:
    return TreeRow(prompt_id=prompt, node_ids=nodes, node_lengths=(1,) * len(nodes))


def numbers(rows: list[TreeRow], rewards: list[float], **options: Any) -> list[list[float]]:
    lengths = torch.tensor([len(one.node_ids) for one in rows])
    found = ESTIMATORS["treepo_branch"](
        rewards=torch.tensor(rewards, dtype=torch.float64),
        response_mask=(torch.arange(int(lengths.max())) < lengths[:, None]).long(),
        rows=rows,
        options=AdvantageConfig(**{"scale": AdvantageScale.NONE, **options}),
    )
    return [line[:length] for line, length in zip(found.tolist(), lengths.tolist(), strict=True)]


@pytest.mark.parametrize("shrink", [0.0, 2.0, "auto"])
def test_a_lone_prompt_has_the_first_fork_alone_as_its_baseline(shrink: float | str) -> None:
    # 1 is above the first fork, which is not shrunk: nothing is known above it.
    rows = [row("p", 1, 2), row("p", 1, 3), row("p", 1, 4)]
    assert numbers(rows, [1.0, 0.0, 0.5], shrink=shrink) == [[0.0, 0.75], [0.0, -0.75], [0.0, 0.0]]


def test_above_the_first_fork_the_other_prompts_are_the_baseline() -> None:
    rows = [row("p", 1, 2), row("p", 1, 3), row("q", 1)]
    # p: V = 0.75, q's mean is 0; fork 1 shrinks to it: (0.5 + 1 x 0) / 2 and (1 + 0) / 2.
    expected = [[0.75, 1.0 - 0.25], [0.75, 0.5 - 0.5], [0.0 - 0.75]]
    assert numbers(rows, [1.0, 0.5, 0.0], shrink=1.0) == expected


def test_a_trajectory_that_ends_at_a_fork_is_one_of_its_branches() -> None:
    rows = [row("p", 1), row("p", 1, 2), row("q", 1)]
    # Node 1 has the branches "ends" (1.0) and 2 (0.0).
    assert numbers(rows, [1.0, 0.0, 0.0], shrink=0.0) == [[0.5], [0.5, -1.0], [-0.5]]


def test_auto_shrinks_wholly_where_prompts_do_not_differ_and_not_at_all_where_branches_do_not() -> None:
    alike = [row(prompt, leaf) for prompt in "pq" for leaf in (1, 2)]
    # Every prompt has one right and one wrong: its own mean says less than nothing, so others' 1/2 is the baseline.
    assert numbers(alike, [1.0, 0.0, 1.0, 0.0], shrink="auto") == [[0.5], [-0.5], [0.5], [-0.5]]
    # Prompts differ, their responses do not: every branch is known from its sibling.
    assert numbers(alike, [1.0, 1.0, 0.0, 0.0], shrink="auto") == [[0.0]] * 4


def test_a_group_without_spread_is_not_blown_up_by_its_own_deviation() -> None:
    rows = [row(prompt, leaf) for prompt in "pqr" for leaf in (1, 2, 3, 4)]
    rewards = [1.0] * 4 + [1.0, 0.0, 1.0, 0.0] * 2
    scaled = numbers(rows, rewards, shrink=2.0, scale=AdvantageScale.PROMPT)
    plain = numbers(rows, rewards, shrink=2.0)
    whole = statistics.variance(rewards)
    assert scaled[0][0] == pytest.approx(plain[0][0] / (2 * whole / 5) ** 0.5)
    assert scaled[4][0] == pytest.approx(plain[4][0] / ((3 * 1 / 3 + 2 * whole) / 5) ** 0.5)


@pytest.mark.parametrize("scale", AdvantageScale)
@pytest.mark.parametrize("shrink", [0.0, 2.0, "auto"])
def test_rewards_that_agree_give_no_advantage(scale: AdvantageScale, shrink: float | str) -> None:
    rows = [row("p", 1, 2), row("p", 1, 3), row("p", 4), row("q", 1), row("r", 1)]
    found = numbers(rows, [0.1] * 5, shrink=shrink, scale=scale)
    assert max(abs(number) for line in found for number in line) < 1e-9
