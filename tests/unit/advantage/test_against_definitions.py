"""The faithful estimators against a slow reading of their definitions, on random trees."""

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_batches import Batch, Definitions, Path, batches, prefixes

from treepo.advantage import ESTIMATORS
from treepo.config import AdvantageConfig, SubgroupWeighting
from treepo.config.policies import SharedTokens


class Faithful(Definitions):
    """The definitions of the published estimators, in exact fractions up to the square roots."""

    def treepo(self, path: Path, options: AdvantageConfig) -> Fraction:
        longest = max(len(nodes) for _, nodes in self.reward)
        own = self.reward[path]
        root_size = len(self.through((path[0], ())))
        root = (own - (self.mean((path[0], ())) if root_size > 1 else 0), root_size)
        terms = [root] if options.include_root else []
        for depth in range(1, longest):
            if depth > len(path[1]):
                continue  # the path stands for itself
            prefix = (path[0], path[1][:depth])
            group = self.through(prefix)
            degenerate = len({self.reward[i] for i in group}) == 1
            if len(group) > 1 and not (options.reject_degenerate and degenerate):
                terms.append((own - self.mean(prefix), len(group)))
        terms = terms or [root]
        if options.subgroup_weighting is SubgroupWeighting.GROUP_SIZE:
            return sum((term * size for term, size in terms), Fraction(0)) / sum(size for _, size in terms)
        return sum((term for term, _ in terms), Fraction(0)) / len(terms)

    def modified_reward(self, path: Path) -> Fraction:
        sizes = [len(self.through(prefix)) for prefix in prefixes(path)]
        terms = [(self.reward[path] - self.mean(prefix)) for prefix in prefixes(path)]
        return sum((t * s for t, s in zip(terms, sizes, strict=True)), Fraction(0)) / sum(sizes)

    def value(self, prefix: Path, leaf_value: Callable[[Path], Fraction]) -> Fraction:
        values = [self.value((prefix[0], (*prefix[1], node)), leaf_value) for node in self.next_nodes(prefix)]
        if prefix in self.reward:
            values.append(leaf_value(prefix))
        return sum(values, Fraction(0)) / len(values)

    def segment(self, path: Path, discount: Fraction | None) -> list[float]:
        length = len(path[1])
        values = [Fraction(0), *(self.value(prefix, self.modified_reward) for prefix in list(prefixes(path))[1:])]
        factor = [Fraction(1) if discount is None else discount ** (length + 1 - k) for k in range(length + 1)]
        return [float(values[k] - factor[k] * values[k - 1]) for k in range(1, length + 1)]

    def spo(self, path: Path) -> list[float]:
        values = [0.0]
        for prefix in list(prefixes(path))[1:]:
            above = (prefix[0], prefix[1][:-1])
            siblings = [
                self.value((prefix[0], (*above[1], n)), self.reward.__getitem__) for n in self.next_nodes(above)
            ]
            own = self.value(prefix, self.reward.__getitem__)
            if len(siblings) > 1:
                mean = sum(siblings, Fraction(0)) / len(siblings)
                variance = sum(((v - mean) ** 2 for v in siblings), Fraction(0)) / len(siblings)
                values.append(float(own - mean) / math.sqrt(variance) if variance else 0.0)
            else:
                values.append(float(own))
        return [own - parent for parent, own in pairwise(values)]


OPTIONS = st.builds(
    AdvantageConfig,
    subgroup_weighting=st.sampled_from(list(SubgroupWeighting)),
    include_root=st.booleans(),
    reject_degenerate=st.booleans(),
    prompt_deviation=st.booleans(),
)


@settings(max_examples=examples(60), deadline=None)
@given(batch=batches(), options=OPTIONS, branch_weights=st.booleans())
def test_treepo_is_its_definition(batch: Batch, options: AdvantageConfig, branch_weights: bool) -> None:
    definitions = Faithful(batch, branch_weights=branch_weights)

    def numbers(path: Path) -> list[float]:
        number = float(definitions.treepo(path, options))
        divisor = definitions.deviation((path[0], ())) if options.prompt_deviation else 1.0
        return [number / divisor] * len(path[1])

    rewards, mask = batch.tensors()
    computed = ESTIMATORS["treepo"](
        rewards=rewards,
        response_mask=mask,
        rows=batch.rows,
        options=options.model_copy(update={"branch_weights": branch_weights}),
    )
    torch.testing.assert_close(computed, definitions.tokens(numbers, whitened=True), atol=1e-5, rtol=1e-5)


@settings(max_examples=examples(60), deadline=None)
@given(batch=batches(), discount=st.none() | st.sampled_from([0.0, 0.5, 0.75, 1.0]), branch_weights=st.booleans())
def test_treepo_segment_is_its_definition(batch: Batch, discount: float | None, branch_weights: bool) -> None:
    definitions = Faithful(batch, branch_weights=branch_weights)
    exact = None if discount is None else Fraction(discount)
    expected = definitions.tokens(lambda path: definitions.segment(path, exact), whitened=True)
    rewards, mask = batch.tensors()
    computed = ESTIMATORS["treepo_segment"](
        rewards=rewards,
        response_mask=mask,
        rows=batch.rows,
        options=AdvantageConfig(branch_weights=branch_weights, parent_discount=discount),
    )
    torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=examples(60), deadline=None)
@given(batch=batches())
def test_treepo_spo_is_its_definition(batch: Batch) -> None:
    definitions = Faithful(batch, branch_weights=False)
    expected = definitions.tokens(definitions.spo, whitened=False)
    rewards, mask = batch.tensors()
    computed = ESTIMATORS["treepo_spo"](rewards=rewards, response_mask=mask, rows=batch.rows, options=AdvantageConfig())
    torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["treepo", "treepo_segment", "treepo_spo"])
@settings(max_examples=examples(12), deadline=None)
@given(batch=batches(), weight=st.sampled_from([(SharedTokens.SQRT, 0.5), (SharedTokens.ONCE, 1.0)]))
def test_shared_tokens_are_divided_by_their_trajectories_after_whitening(
    name: str, batch: Batch, weight: tuple[SharedTokens, float]
) -> None:
    kind, power = weight
    definitions = Faithful(batch, branch_weights=False)
    own = {
        "treepo": lambda path: [float(definitions.treepo(path, AdvantageConfig()))] * len(path[1]),
        "treepo_segment": lambda path: definitions.segment(path, None),
        "treepo_spo": definitions.spo,
    }
    expected = definitions.tokens(own[name], whitened=name != "treepo_spo", shared_power=power)
    rewards, mask = batch.tensors()
    computed = ESTIMATORS[name](
        rewards=rewards, response_mask=mask, rows=batch.rows, options=AdvantageConfig(shared_tokens=kind)
    )
    torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ESTIMATORS)
@settings(max_examples=examples(12), deadline=None)
@given(batch=batches(), data=st.data())
def test_the_order_of_the_rows_does_not_matter(name: str, batch: Batch, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(batch.rows))))
    rewards, mask = batch.tensors()
    plain = ESTIMATORS[name](rewards=rewards, response_mask=mask, rows=batch.rows, options=AdvantageConfig())
    shuffled = ESTIMATORS[name](
        rewards=rewards[order],
        response_mask=mask[order],
        rows=[batch.rows[i] for i in order],
        options=AdvantageConfig(),
    )
    torch.testing.assert_close(shuffled, plain[order], atol=1e-5, rtol=1e-5)
