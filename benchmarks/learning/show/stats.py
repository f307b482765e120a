"""Means over few seeds with honest intervals, and curves compared at equal budgets."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev

import numpy as np

_SIMPSON_INTERVALS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and its confidence interval.

    Attributes:
        mean: The mean.
        low: Lower end; not a number with fewer than two values.
        high: Upper end; not a number with fewer than two values.
        count: Values behind it.
    """

    mean: float
    low: float
    high: float
    count: int

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0


def mean_interval(values: Sequence[float], *, level: float = 0.95) -> Interval:
    """Student's t interval of a mean.

    With a handful of values no bootstrap is as wide as it says: it cannot leave the values' own range, which for two
    holds the truth in every second case.

    Args:
        values: At least one.
        level: Coverage, where the values are normal.

    Raises:
        ValueError: There are no values.
    """
    count = len(values)
    if count == 0:
        raise ValueError("an interval needs values")
    mean = fmean(values)
    if count == 1:
        return Interval(mean=mean, low=math.nan, high=math.nan, count=1)
    reach = t_quantile(0.5 + level / 2, count - 1) * stdev(values) / math.sqrt(count)
    return Interval(mean=mean, low=mean - reach, high=mean + reach, count=count)


@cache
def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t.

    Args:
        probability: Between 0.5 and 1.
        freedom: Degrees of freedom, at least 1.
    """
    assert 0.5 < probability < 1
    assert freedom >= 1
    low, high = 0.0, 1.0
    while _t_mass(high, freedom) < probability - 0.5:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        if _t_mass(middle, freedom) < probability - 0.5:
            low = middle
        else:
            high = middle
    return high


def _t_mass(reach: float, freedom: int) -> float:
    """Probability between 0 and ``reach``; with t = sqrt(freedom) tan(angle) the integrand is a power of a cosine."""
    angles = np.linspace(0.0, math.atan(reach / math.sqrt(freedom)), _SIMPSON_INTERVALS + 1)
    heights = np.cos(angles) ** (freedom - 1)
    weights = np.ones(_SIMPSON_INTERVALS + 1)
    weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0
    area = float((weights * heights).sum()) * float(angles[1]) / 3
    log_factor = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - 0.5 * math.log(math.pi)
    return area * math.exp(log_factor)


def mean_over(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Mean height of a curve: the area under its straight pieces, divided by its width.

    Args:
        xs: Strictly ascending, at least two.
        ys: As many.
    """
    return float(np.trapezoid(ys, xs)) / (xs[-1] - xs[0])


def value_at(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Height of a curve between its points.

    Args:
        xs: Strictly ascending.
        ys: As many.
        x: Where.

    Raises:
        ValueError: The curve does not reach there.
    """
    if not xs[0] <= x <= xs[-1]:
        raise ValueError(f"{x} lies outside the curve from {xs[0]} to {xs[-1]}")
    return float(np.interp(x, xs, ys))


def paired_differences(own: Mapping[int, float], other: Mapping[int, float]) -> list[float]:
    """Own minus other of every seed that both have, by seed."""
    return [own[seed] - other[seed] for seed in sorted(own.keys() & other.keys())]
