"""pass@k and maj@k of trees: every estimate against all trees there can be, and the pooled one shown to be biased."""

from collections.abc import Callable, Iterator
from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from treepo.evaluation.count import metrics, trees
from treepo.evaluation.count.metrics import CORRECT, Classes

FIRST, SECOND = 0.3, (0.2, 0.9)
"""A model of two segments: the first is good by chance, and how likely the second is right depends on it."""
SAMPLE = FIRST * SECOND[1] + (1 - FIRST) * SECOND[0]
"""The chance of an independent sample, and of a tree's random trajectory."""

Tree = tuple[int, ...]


def all_trees() -> Iterator[tuple[Tree, float]]:
    """Trees of width four, two first segments and two forks of each, as right (1) or wrong, with their chances."""
    for first in product((0, 1), repeat=2):
        for leaves in product((0, 1), repeat=4):
            chance = 1.0
            for good in first:
                chance *= FIRST if good else 1 - FIRST
            for leaf, right in enumerate(leaves):
                likely = SECOND[first[leaf // 2]]
                chance *= likely if right else 1 - likely
            yield leaves, chance


def by_leaves() -> list[tuple[Tree, float]]:
    """The same by their leaves alone."""
    chances: dict[Tree, float] = {}
    for leaves, chance in all_trees():
        chances[leaves] = chances.get(leaves, 0.0) + chance
    return list(chances.items())


TREES = by_leaves()


def classes(leaves: Tree) -> Classes:
    return np.array([CORRECT if right else 1 for right in leaves])


def expected(count: int, estimate: Callable[[list[Classes]], float]) -> float:
    """The mean of an estimate over all draws of so many trees."""
    drawn = [(classes(leaves), chance) for leaves, chance in TREES]
    return sum(
        float(np.prod([chance for _, chance in some])) * estimate([tree for tree, _ in some])
        for some in product(drawn, repeat=count)
    )


def chance_of_a_right_one(taken: int) -> float:
    """The chance that so many trajectories of one tree, drawn at random, hold a right one."""
    return float(
        sum(chance * np.mean([any(subset) for subset in combinations(leaves, taken)]) for leaves, chance in TREES)
    )


def test_the_trees_of_the_model_are_all_there_are() -> None:
    assert sum(chance for _, chance in TREES) == pytest.approx(1)
    assert chance_of_a_right_one(1) == pytest.approx(SAMPLE)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_k_of_one_tree_is_unbiased_for_k_of_one_tree(k: int, count: int) -> None:
    found = expected(count, lambda some: trees.pass_at_k([some], 4, k)[0])
    assert found == pytest.approx(chance_of_a_right_one(k))


def test_k_of_one_tree_is_below_k_independent_samples() -> None:
    assert chance_of_a_right_one(2) < 1 - (1 - SAMPLE) ** 2 - 0.02
    assert chance_of_a_right_one(4) < 1 - (1 - SAMPLE) ** 4 - 0.02


@pytest.mark.parametrize(("count", "whole"), [(2, 1), (2, 2)])
def test_whole_trees_are_unbiased_for_whole_trees(count: int, whole: int) -> None:
    found = expected(count, lambda some: trees.pass_at_k([some], 4, 4 * whole)[0])
    assert found == pytest.approx(1 - (1 - chance_of_a_right_one(4)) ** whole)


@pytest.mark.parametrize(("count", "k"), [(1, 1), (2, 1), (2, 2)])
def test_k_of_k_trees_are_unbiased_for_k_independent_samples(count: int, k: int) -> None:
    found = expected(count, lambda some: trees.pass_at_k_apart([some], k)[0])
    assert found == pytest.approx(1 - (1 - SAMPLE) ** k)


def test_the_pooled_estimate_is_biased_for_all_three() -> None:
    pooled = expected(2, lambda some: metrics.pass_at_k([int((np.concatenate(some) == CORRECT).sum())], [8], 2)[0])
    assert chance_of_a_right_one(2) + 0.01 < pooled < 1 - (1 - SAMPLE) ** 2 - 0.01


@given(st.lists(st.integers(0, 1), min_size=1, max_size=8), st.data())
def test_trees_of_one_trajectory_are_independent_samples(right: list[int], data: st.DataObject) -> None:
    some = [classes((one,)) for one in right]
    k = data.draw(st.integers(1, len(right)))
    wanted = metrics.pass_at_k([sum(right)], [len(right)], k)
    np.testing.assert_allclose(trees.pass_at_k_apart([some], k), wanted, atol=1e-12)
    np.testing.assert_allclose(trees.pass_at_k([some], 1, k), wanted, atol=1e-12)


@given(st.lists(st.lists(st.integers(0, 1), min_size=3, max_size=3), min_size=2, max_size=5), st.data())
def test_k_of_k_trees_is_the_mean_over_subsets_of_trees(marks: list[list[int]], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(marks)))
    hits = [any(taken) for subset in combinations(marks, k) for taken in product(*subset)]
    assert len(hits) == comb(len(marks), k) * 3**k
    found = trees.pass_at_k_apart([[classes(tuple(tree)) for tree in marks]], k)[0]
    assert found == pytest.approx(np.mean(hits))


def test_majority_by_hand() -> None:
    # Two trees of two: one with both right, one with the same wrong answer twice.
    some = [np.array([0, 0]), np.array([1, 1])]
    draws = np.random.default_rng(0)
    assert trees.majority_at_k([some], 2, 2, draws)[0] == pytest.approx(0.5)
    assert trees.majority_at_k([some], 2, 4, draws)[0] == pytest.approx(0.5)  # a tie of two
    three = [*some, np.array([0, 2])]
    assert trees.majority_at_k([three], 2, 6, draws)[0] == pytest.approx(1.0)
    # Pairs of trees: a tie; right alone; two wrong ones against one right.
    assert trees.majority_at_k([three], 2, 4, draws)[0] == pytest.approx((0.5 + 1 + 0) / 3)


def test_the_k_of_a_report_are_of_one_tree_and_then_of_whole_ones() -> None:
    assert trees.tree_sizes(16, 4) == [1, 2, 4, 8, 16, 32, 64]
    assert trees.tree_sizes(3, 3) == [1, 2, 3, 6, 9]
    assert trees.tree_sizes(4, 1) == [1, 2, 4]


def test_a_k_between_trees_or_above_them_is_refused() -> None:
    some = [[classes((1, 0)), classes((0, 0))]]
    with pytest.raises(ValueError, match="k=3 must be at most the width of a tree, 2, or a multiple of it"):
        trees.pass_at_k(some, 2, 3)
    with pytest.raises(ValueError, match="must be between 1 and"):
        trees.pass_at_k(some, 2, 6)
    with pytest.raises(ValueError, match="k=3 must be between 1 and the samples that every question has, 2"):
        trees.pass_at_k_apart(some, 3)
