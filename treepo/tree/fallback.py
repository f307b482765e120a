"""Growing again from finished trajectories: which of them, and in which order."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from treepo.config import FallbackConfig
from treepo.config.policies import FallbackCandidates
from treepo.tree.node import FinishReason, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A finished trajectory that may be cut.

    Attributes:
        index: Its place among the finished ones.
        trajectory: The trajectory.
        open_answer: Whether it holds an answer, or the beginning of one, and yet does not count as answered.
    """

    index: int
    trajectory: Trajectory
    open_answer: bool


_ENDED = (FinishReason.ANSWERED, FinishReason.EOS, FinishReason.DONE)
_WEIGHTS = {
    FinishReason.ANSWERED: 7,
    FinishReason.EOS: 5,
    FinishReason.DONE: 5,
    FinishReason.MAX_DEPTH: 4,
    FinishReason.MAX_TURNS: 4,
    FinishReason.MAX_TOKENS: 3,
    FinishReason.REPETITION: 2,
    FinishReason.FAILED: 1,
}
_OPEN_ANSWER_WEIGHT = 6


def order_candidates(
    options: FallbackConfig, finished: Sequence[Candidate], *, window: int | None, rng: random.Random
) -> list[Candidate]:
    """The trajectories that may be cut, in the order in which they are taken.

    Args:
        options: The rule; where it leaves an order open, the order is random.
        finished: All finished trajectories.
        window: Tokens of a cut window; None in trees of turns, where a segment stands for one.
        rng: The prompt's random stream.
    """
    candidates = [candidate for candidate in finished if _is_candidate(options, candidate.trajectory, window)]
    match options.candidates:
        case FallbackCandidates.BY_REASON_SOFT:
            return _gumbel_order(candidates, [reason_weight(candidate) for candidate in candidates], rng)
        case FallbackCandidates.LONGER_FIRST:
            return _gumbel_order(candidates, [candidate.trajectory.length for candidate in candidates], rng)
    rng.shuffle(candidates)
    if options.candidates is FallbackCandidates.BY_REASON:
        candidates.sort(key=reason_weight, reverse=True)
    return candidates


def reason_weight(candidate: Candidate) -> int:
    """How good a start a trajectory is.

    Answered 7, open answer 6, ended by itself or its environment 5, max depth or turns 4, max tokens 3, repetition 2,
    failed 1. A response that repeats itself or whose environment failed is worth least, whatever answer it began.
    """
    reason = candidate.trajectory.reason
    if candidate.open_answer and reason not in (FinishReason.REPETITION, FinishReason.FAILED):
        return _OPEN_ANSWER_WEIGHT
    return _WEIGHTS[reason]


def share_out(remaining: int, candidates: int, divergence: int) -> list[int]:
    """New requests of each candidate in turn: `divergence` each, fewer when `remaining` runs out."""
    shares: list[int] = []
    while remaining > 0 and len(shares) < candidates:
        shares.append(min(divergence, remaining))
        remaining -= shares[-1]
    return shares


def _is_candidate(options: FallbackConfig, trajectory: Trajectory, window: int | None) -> bool:
    match options.candidates:
        case FallbackCandidates.ANSWERED_OR_EOS:
            return trajectory.reason in _ENDED
        case FallbackCandidates.ANSWERED_MIN_WINDOWS:
            assert options.min_windows is not None, "the configuration needs it with this policy"
            windows = len(trajectory.nodes) if window is None else trajectory.length // window
            return trajectory.reason is FinishReason.ANSWERED and windows >= options.min_windows
    return True


def _gumbel_order(candidates: Sequence[Candidate], weights: Sequence[int], rng: random.Random) -> list[Candidate]:
    """Weighted sampling without replacement.

    Sorting by log(weight) plus Gumbel noise, largest first, is sorting by exponential waiting times with these rates,
    shortest first.
    """
    waits = [rng.expovariate(weight) for weight in weights]
    return [candidates[index] for index in sorted(range(len(candidates)), key=waits.__getitem__)]
