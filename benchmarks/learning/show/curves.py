"""The runs of an arm as curves of held-out accuracy, and what is read off them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean, median

import numpy as np

from benchmarks.learning.results import RunResult
from benchmarks.learning.show.stats import Interval, mean_interval, mean_over, paired_differences, value_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One run's held-out accuracy, at the same steps in every run.

    Attributes:
        steps: Steps after which it was measured, from 0.
        tokens: Tokens generated until then.
        seconds: Seconds of training until then, without start-up and evaluation.
        accuracy: In percent.
    """

    steps: tuple[float, ...]
    tokens: tuple[float, ...]
    seconds: tuple[float, ...]
    accuracy: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What every run has spent at least: where arms are compared.

    Attributes:
        tokens: Tokens generated.
        seconds: Seconds of training.
    """

    tokens: float
    seconds: float


# By arm and seed.
Curves = dict[str, dict[int, Curve]]


def build_curves(results: Sequence[RunResult]) -> Curves:
    """The curves of all runs.

    All runs start from one model, so the accuracy before the first step is the mean of all runs' measurements of it.

    Raises:
        ValueError: Runs were measured at different steps, or are not of one study.
    """
    studies = {result.study for result in results}
    if len(studies) != 1:
        raise ValueError(f"the runs are of different studies: {sorted(studies)}; report on them apart")
    grids = {tuple(result.accuracy_steps) for result in results}
    if len(grids) != 1:
        raise ValueError(f"the runs were measured at different steps: {sorted(grids)}; report on them apart")
    start = 100 * fmean(result.accuracy[0] for result in results)
    curves: Curves = defaultdict(dict)
    for result in results:
        curves[result.arm][result.seed] = Curve(
            steps=tuple(map(float, result.accuracy_steps)),
            tokens=_spent(result.tokens_generated, result.accuracy_steps),
            # Workers start within the first step: it counts as a usual one.
            seconds=_spent([median(result.seconds[1:]), *result.seconds[1:]], result.accuracy_steps),
            accuracy=(start, *(100 * value for value in result.accuracy[1:])),
        )
    return dict(curves)


def _spent(per_step: Sequence[float], steps: Sequence[int]) -> tuple[float, ...]:
    total = [0.0, *accumulate(map(float, per_step))]
    return tuple(total[step] for step in steps)


def common_budget(curves: Curves) -> Budget:
    """The largest budget that every run has spent."""
    runs = [curve for arm in curves.values() for curve in arm.values()]
    return Budget(tokens=min(curve.tokens[-1] for curve in runs), seconds=min(curve.seconds[-1] for curve in runs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What is read off the curve of a run, or a difference of two; in percent or points.

    Attributes:
        last: Accuracy after the last step.
        mean: Mean accuracy over the steps.
        at_tokens: Accuracy when the common budget of tokens is spent.
        at_seconds: Accuracy when the common budget of time is spent.
    """

    last: float
    mean: float
    at_tokens: float
    at_seconds: float


MEASURES = ("last", "mean", "at_tokens", "at_seconds")


def measure(curve: Curve, budget: Budget) -> Measures:
    """Reads a curve off.

    Args:
        curve: A run's curve.
        budget: What every run has spent.
    """
    return Measures(
        last=curve.accuracy[-1],
        mean=mean_over(curve.steps, curve.accuracy),
        at_tokens=value_at(curve.tokens, curve.accuracy, budget.tokens),
        at_seconds=value_at(curve.seconds, curve.accuracy, budget.seconds),
    )


def summarise(runs: dict[int, Curve], budget: Budget) -> dict[str, Interval]:
    """Mean and interval of every measure over an arm's seeds."""
    read = [measure(curve, budget) for curve in runs.values()]
    return {name: mean_interval([getattr(one, name) for one in read]) for name in MEASURES}


def compare(own: dict[int, Curve], other: dict[int, Curve], budget: Budget) -> dict[str, tuple[Interval, int]] | None:
    """Paired differences over the seeds that both arms have.

    Returns:
        Per measure the mean difference with its interval, and in how many seeds it is above zero; None where the arms
        have no seed in common.
    """
    if not own.keys() & other.keys():
        return None
    left = {seed: measure(curve, budget) for seed, curve in own.items()}
    right = {seed: measure(curve, budget) for seed, curve in other.items()}
    compared: dict[str, tuple[Interval, int]] = {}
    for name in MEASURES:
        differences = paired_differences(
            {seed: getattr(one, name) for seed, one in left.items()},
            {seed: getattr(one, name) for seed, one in right.items()},
        )
        compared[name] = mean_interval(differences), sum(difference > 0 for difference in differences)
    return compared


_RESAMPLES = 2000
_SEEDS_TO_RESAMPLE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CostToReach:
    """What an arm spends until it reaches the last accuracy of another one, relative to all that the other spent.

    Attributes:
        share: Read off the mean curves; infinite where the arm does not reach it within its steps.
        low: 2.5% quantile of the bootstrap over seeds; not a number with fewer than five.
        high: 97.5% quantile, as well; may be infinite.
        count: Seeds that both arms have.
    """

    share: float
    low: float
    high: float
    count: int


def cost_to_reach(own: dict[int, Curve], other: dict[int, Curve], axis: str) -> CostToReach | None:
    """When an arm is as good as another one at its end.

    An arm is given the first place where its mean curve is so high. The other one itself may have been so high before
    its end, and then has a share below 1: that is the share to compare with.

    Args:
        own: The arm's curves by seed.
        other: Those of the arm that it is compared with.
        axis: ``tokens`` or ``seconds``.

    Returns:
        None where the arms have no seed in common.
    """
    seeds = sorted(own.keys() & other.keys())
    if not seeds:
        return None
    spent = np.array([getattr(own[seed], axis) for seed in seeds])
    accuracy = np.array([own[seed].accuracy for seed in seeds])
    whole = np.array([getattr(other[seed], axis)[-1] for seed in seeds])
    target = np.array([other[seed].accuracy[-1] for seed in seeds])

    def share(chosen: np.ndarray) -> float:
        reached = _first_at(spent[chosen].mean(axis=0), accuracy[chosen].mean(axis=0), target[chosen].mean())
        return reached / float(whole[chosen].mean())

    read = share(np.arange(len(seeds)))
    if len(seeds) < _SEEDS_TO_RESAMPLE:
        return CostToReach(share=read, low=np.nan, high=np.nan, count=len(seeds))
    # What is read off a mean curve has no spread of its own, so seeds are drawn anew, the same ones for both arms.
    draws = np.random.default_rng(0)
    shares = sorted(share(draws.integers(len(seeds), size=len(seeds))) for _ in range(_RESAMPLES))
    edge = _RESAMPLES // 40
    return CostToReach(share=read, low=shares[edge], high=shares[-1 - edge], count=len(seeds))


def _first_at(places: np.ndarray, values: np.ndarray, target: float) -> float:
    """Where a curve of straight lines first is at a height, or infinity."""
    # Means of the same numbers in another order differ in their last digits.
    (above,) = (values >= target - 1e-9).nonzero()
    if not len(above):
        return np.inf
    point = int(above[0])
    if point == 0:
        return float(places[0])
    return float(np.interp(target, values[point - 1 : point + 1], places[point - 1 : point + 1]))


def band(runs: dict[int, Curve], axis: str) -> tuple[list[float], list[Interval]]:
    """An arm's mean curve.

    Args:
        runs: Its curves by seed.
        axis: ``steps``, ``tokens`` or ``seconds``.

    Returns:
        The mean place of every measurement on the axis, and the accuracy there.
    """
    curves = list(runs.values())
    points = range(len(curves[0].steps))
    places = [fmean(getattr(curve, axis)[point] for curve in curves) for point in points]
    return places, [mean_interval([curve.accuracy[point] for curve in curves]) for point in points]
