"""How much a score moves with the seed, and intervals that draw samples as well as questions.

The interval over questions (`treepo.evaluation.count.metrics`) is for other questions of the same kind: what the seed
adds to a question's average is part of its variance. Here questions stay the same, or are drawn together with their
samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from treepo.evaluation.count.metrics import Floats, Times


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedSpread:
    """A mean over questions, once per seed.

    Attributes:
        means: Of each seed.
        mean: Of these.
        deviation: Their standard deviation, with one degree of freedom taken off; None for one seed.
    """

    means: tuple[float, ...]
    mean: float
    deviation: float | None


def seed_spread(means: Sequence[float]) -> SeedSpread:
    """Mean and standard deviation over seeds, of at least one."""
    found = np.asarray(means, dtype=np.float64)
    deviation = float(found.std(ddof=1)) if len(found) > 1 else None
    return SeedSpread(means=tuple(map(float, found)), mean=float(found.mean()), deviation=deviation)


def seed_means(right: NDArray[np.int64], drawn: NDArray[np.int64]) -> list[float] | None:
    """The mean over questions of each seed; None where a question lacks all samples of some seed.

    Args:
        right: Right samples, shape [questions, seeds].
        drawn: Samples, of the same shape.
    """
    if not drawn.all():
        return None
    return [float(mean) for mean in (right / drawn).mean(axis=0)]


def nested_means(units: Sequence[Floats], times: Times, generator: np.random.Generator) -> Floats | None:
    """Bootstrap means that draw questions, and for each drawn question its units anew (Davison and Hinkley, 1997, 3.8).

    A unit is what is independent of its question's others: a sample, or a whole tree with the share of its trajectories
    that are right. The variance of these means is that of the bootstrap over questions plus, on average, (u - 1) / u of
    what the units add to it, u being the units of a question: since the questions' averages already hold the units'
    noise, the interval is wider than needed, never narrower.

    Args:
        units: The units' scores by question, each of shape [units of the question].
        times: Resamples of the questions, shape [resamples, questions].
        generator: What draws the units.

    Returns:
        The mean of every resample, shape [resamples]; None where a question has one unit alone, which says nothing
        about its noise.
    """
    if min(map(len, units)) < 2:
        return None
    total = np.zeros(len(times))
    for question, scores in enumerate(units):
        values, counts = np.unique(scores, return_counts=True)  # right and wrong alone, where units are samples
        draws = generator.multinomial(times[:, question] * len(scores), counts / counts.sum())
        total += draws @ values / len(scores)
    return total / len(units)
