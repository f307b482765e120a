"""Seeds: means and deviations by hand, and the variance of the nested bootstrap by its formula."""

import numpy as np
import pytest

from treepo.evaluation.count import metrics
from treepo.evaluation.count.seeds import nested_means, seed_means, seed_spread

RESAMPLES = 40_000


def draws(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_mean_and_deviation_over_seeds_by_hand() -> None:
    found = seed_spread([0.1, 0.3, 0.5])
    assert (found.mean, found.deviation) == pytest.approx((0.3, 0.2))
    assert seed_spread([0.4]).deviation is None


def test_the_mean_of_a_seed_is_over_its_own_samples() -> None:
    right, drawn = np.array([[1, 2], [0, 1]]), np.array([[2, 2], [2, 4]])
    assert seed_means(right, drawn) == pytest.approx([0.25, 0.625])
    assert seed_means(right, np.array([[2, 2], [0, 4]])) is None


def variances(units: list[np.ndarray]) -> tuple[float, float]:
    """Variance of the questions' averages, and the mean of what their units add to it."""
    averages = np.array([one.mean() for one in units])
    return float(averages.var()), float(np.mean([one.var() / len(one) for one in units]))


@pytest.mark.parametrize(
    "units",
    [
        [np.array([0.0, 1.0, 1.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.0] * 4)],
        [np.array([0.25, 0.75]), np.array([0.0, 0.5]), np.array([1.0, 1.0]), np.array([0.5, 0.25])],
    ],
)
def test_the_nested_bootstrap_has_the_variance_of_questions_and_of_units(units: list[np.ndarray]) -> None:
    between, within = variances(units)
    times = metrics.resample(len(units), draws(1), resamples=RESAMPLES)
    means = nested_means(units, times, draws(2))
    assert means is not None
    plain = metrics.resampled_means(np.array([one.mean() for one in units]), times)
    assert means.mean() == pytest.approx(plain.mean(), abs=0.005)
    assert plain.var() == pytest.approx(between / len(units), rel=0.05)
    assert means.var() == pytest.approx((between + within) / len(units), rel=0.05)


def test_equal_trajectories_of_a_tree_are_one_unit_and_not_many() -> None:
    trees = [np.array([0.0, 1.0])] * 5
    as_samples = [np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])] * 5
    times = metrics.resample(5, draws(), resamples=RESAMPLES)
    whole, apart = (nested_means(units, times, draws(3)) for units in (trees, as_samples))
    assert whole is not None
    assert apart is not None
    assert whole.var() == pytest.approx(4 * apart.var(), rel=0.06)


def test_one_unit_says_nothing_about_its_noise() -> None:
    times = metrics.resample(2, draws(), resamples=10)
    assert nested_means([np.array([1.0]), np.array([0.0, 1.0])], times, draws()) is None
