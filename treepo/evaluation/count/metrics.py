"""avg@k, pass@k, G-Pass@k and maj@k with their confidence intervals.

Every metric is first a score per question; means, intervals and comparisons are made of these. Questions are the units
of the bootstrap, since the samples of one question are not independent of each other. Randomness is an explicit
generator.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from treepo.evaluation.keep.records import Sample
from treepo.rewards.groups import group_answers

RESAMPLES = 2000
SUBSETS = 1000
G_PASS_SHARES = (0.5, 0.75, 1.0)
CONFIDENCE = 0.95

CORRECT = 0
NO_ANSWER = -1

Floats = NDArray[np.float64]
Classes = NDArray[np.int64]
Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over questions and its confidence interval.

    Attributes:
        value: The mean.
        low: Lower end of the 95% interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def average(correct: ArrayLike, samples: ArrayLike) -> Floats:
    """avg@k of every question: the share of its k samples that are right.

    Args:
        correct: Right samples of each question, shape [questions].
        samples: Samples of each, shape [questions], at least 1.
    """
    right, drawn = _counts(correct, samples)
    return right / drawn


def pass_at_k(correct: ArrayLike, samples: ArrayLike, k: int) -> Floats:
    """The chance that one of k samples is right, estimated from n of them (Chen et al. 2021, arXiv 2107.03374, Eq. 1).

    1 - C(n - c, k) / C(n, k) for c right ones of n, in whole numbers until the last division. Unbiased for independent
    samples. Of trees, see `treepo.evaluation.count.trees`.

    Args:
        correct: Right samples of each question, c, shape [questions].
        samples: Samples of each, n, shape [questions].
        k: Samples of which one has to be right, between 1 and the least n.

    Raises:
        ValueError: Some question has fewer than k samples.
    """
    right, drawn = _counts(correct, samples)
    check_k(k, drawn)
    pairs, where = np.unique(np.stack([right, drawn]), axis=1, return_inverse=True)
    chances = [1 - math.comb(n - c, k) / math.comb(n, k) for c, n in pairs.T.tolist()]
    return np.array(chances)[where.reshape(-1)]


def g_pass_at_k(correct: ArrayLike, samples: ArrayLike, k: int, share: float) -> Floats:
    """G-Pass@k: the chance that at least this share of k samples is right (Liu et al. 2024, arXiv 2412.13147).

    The sum over j from max(ceil(share k), 1) to min(c, k) of C(c, j) C(n - c, k - j) / C(n, k), for c right ones of n.
    Unbiased where `pass_at_k` is, which it equals for a share of nought.

    Args:
        correct: Right samples of each question, c, shape [questions].
        samples: Samples of each, n, shape [questions].
        k: Samples that are drawn, between 1 and the least n.
        share: Which share of them must be right, in [0, 1].

    Raises:
        ValueError: Some question has fewer than k samples, or the share is no share.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of right samples is between 0 and 1, got {share}")
    # 0.55 times 100 is a little above 55 in floating point, and must not ask for 56.
    return _at_least(correct, samples, k, max(1, math.ceil(round(share * k, 9))))


def mean_g_pass_at_k(correct: ArrayLike, samples: ArrayLike, k: int) -> Floats:
    """mG-Pass@k: 2 / k times the sum of G-Pass@k over i / k, i from ceil(k / 2) + 1 to k (arXiv 2412.13147).

    Args:
        correct: Right samples of each question, shape [questions].
        samples: Samples of each, shape [questions].
        k: Samples that are drawn, between 2 and the least number of samples.

    Raises:
        ValueError: Some question has fewer than k samples, or k is 1.
    """
    if k < 2:
        raise ValueError(f"mG-Pass@k is a mean over thresholds above one half of k, and k={k} has none")
    parts = [_at_least(correct, samples, k, needed) for needed in range((k + 1) // 2 + 1, k + 1)]
    return 2 / k * np.sum(parts, axis=0)


def _at_least(correct: ArrayLike, samples: ArrayLike, k: int, needed: int) -> Floats:
    """The chance that at least `needed` of k drawn samples are right."""
    right, drawn = _counts(correct, samples)
    check_k(k, drawn)
    return np.array(
        [
            sum(math.comb(c, j) * math.comb(n - c, k - j) for j in range(needed, min(c, k) + 1)) / math.comb(n, k)
            for c, n in zip(right.tolist(), drawn.tolist(), strict=True)
        ]
    )


def vote_classes(samples: Sequence[Sample]) -> Classes:
    """Which answer each sample of one question votes for, shape [samples].

    All right answers are one class, `CORRECT`, however they are spelt; wrong ones that the scorer takes for equal by
    reading are one class, see `treepo.rewards.groups`; a sample without an answer does not vote, `NO_ANSWER`.
    """
    votes = np.array([CORRECT if sample.correct else NO_ANSWER for sample in samples], dtype=np.int64)
    wrong = {
        place: sample.answer
        for place, sample in enumerate(samples)
        if not sample.correct and sample.answer is not None and sample.answer.strip()
    }
    votes[list(wrong)] = 1 + np.array(group_answers(list(wrong.values())), dtype=np.int64)
    return votes


def majority_at_k(
    votes: Sequence[Classes], k: int, generator: np.random.Generator, *, subsets: int = SUBSETS
) -> Floats:
    """The chance that the most frequent answer of k samples is the right one, for every question.

    The mean over subsets of k of the question's samples: over all of them where these are no more than `subsets`,
    otherwise over that many drawn at random. Where several answers are equally frequent, one of them is taken at
    random: the right one then counts as one over their number. Without any answer in a subset it counts as nought.

    Args:
        votes: Each question's classes, see `vote_classes`.
        k: Size of the subsets, between 1 and the least number of samples.
        generator: What draws the subsets.
        subsets: Most subsets per question.

    Raises:
        ValueError: Some question has fewer than k samples.
    """
    check_k(k, np.array([len(one) for one in votes]))
    return np.array([_majority(one, _subsets(len(one), k, subsets, generator)) for one in votes])


def _subsets(size: int, k: int, most: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Subsets of k samples out of `size`: 1 where a sample is in, shape [subsets, size]."""
    if math.comb(size, k) <= most:
        return _all_subsets(size, k)
    return _members(generator.random((most, size)).argpartition(k - 1, axis=1)[:, :k], size)


@lru_cache(maxsize=64)
def _all_subsets(size: int, k: int) -> NDArray[np.float32]:
    return _members(np.array(list(combinations(range(size), k))), size)


def _members(chosen: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    members = np.zeros((len(chosen), size), dtype=np.float32)
    np.put_along_axis(members, chosen, 1, axis=1)
    return members


def _majority(votes: Classes, subsets: NDArray[np.float32]) -> float:
    classes = np.arange(CORRECT, max(CORRECT, votes.max()) + 1)
    counts = subsets @ (votes[:, None] == classes).astype(np.float32)  # whole numbers, and so exact
    most = counts.max(axis=1)
    tied = (counts == most[:, None]).sum(axis=1)
    wins = (counts[:, CORRECT] == most) & (most > 0)
    return float(np.mean(wins / tied))


def resample(questions: int, generator: np.random.Generator, *, resamples: int = RESAMPLES) -> Times:
    """Draws bootstrap resamples: how often each question is in each of them, shape [resamples, questions].

    Metrics of the same questions are to share one draw: it is the larger part of the work, and differences between
    them then are differences on the same resamples.
    """
    return generator.multinomial(questions, np.full(questions, 1 / questions), size=resamples)


def resampled_means(scores: Floats, times: Times) -> Floats:
    """The mean of every resample, shape [resamples]; scores and resamples are over the same questions."""
    return times @ scores / len(scores)


def estimate(scores: Floats, times: Times) -> Estimate:
    """The mean over questions with a percentile bootstrap interval.

    The interval has no width where all questions score the same, however few they are.

    Args:
        scores: A score per question, shape [questions], at least one.
        times: Their resamples, see `resample`.
    """
    return interval(float(scores.mean()), resampled_means(scores, times))


def weighted_estimate(
    scores: Mapping[str, Floats], weights: Mapping[str, float], times: Mapping[str, Times]
) -> tuple[Estimate, Floats]:
    """The weighted mean over benchmarks; its bootstrap draws questions within each benchmark.

    Args:
        scores: A score per question, shape [questions], by benchmark.
        weights: Weight of each benchmark; equal ones for the unweighted mean.
        times: The benchmarks' resamples.

    Returns:
        The estimate, and the mean of every resample, shape [resamples].
    """
    shares = np.array([weights[name] for name in scores], dtype=np.float64)
    shares /= shares.sum()
    values = np.array([part.mean() for part in scores.values()])
    means = np.stack([resampled_means(part, times[name]) for name, part in scores.items()])
    return interval(float(shares @ values), shares @ means), shares @ means


def interval(value: float, means: Floats) -> Estimate:
    """A value with the percentile interval of its bootstrap means."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(value=value, low=float(low), high=float(high))


def sample_sizes(least: int) -> list[int]:
    """The k of a report: powers of two up to the samples that every question has, and that number itself."""
    return sorted({*(2**power for power in range(least.bit_length()) if 2**power <= least), least})


def _counts(correct: ArrayLike, samples: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    right, drawn = np.asarray(correct, dtype=np.int64), np.asarray(samples, dtype=np.int64)
    if right.shape != drawn.shape or right.ndim != 1 or not len(right):
        raise ValueError(f"one count per question is needed, got shapes {right.shape} and {drawn.shape}")
    if (drawn < 1).any() or (right < 0).any() or (right > drawn).any():
        raise ValueError("every question needs a sample, and no more right ones than samples")
    return right, drawn


def check_k(k: int, samples: NDArray[np.int64]) -> None:
    """Refuses a k that some question has no samples for.

    Raises:
        ValueError: It is not between 1 and the least of the samples.
    """
    least = int(samples.min()) if len(samples) else 0
    if not 1 <= k <= least:
        raise ValueError(f"k={k} must be between 1 and the samples that every question has, {least}")
