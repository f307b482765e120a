"""Growing again from finished trajectories: which of them, in which order, and where they are cut."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from treepo.config import FallbackConfig
from treepo.config.policies import CutPosition, FallbackCandidates, Preference
from treepo.tree.allocation import softmax
from treepo.tree.node import FinishReason, Node, Trajectory


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


def cut_position(
    options: FallbackConfig, trajectory: Trajectory, *, segment_length: int, max_depth: int, rng: random.Random
) -> int:
    """Draws where a trajectory is cut.

    Args:
        options: The options of the fallback.
        trajectory: The trajectory.
        segment_length: Tokens per segment.
        max_depth: Windows per trajectory.
        rng: The prompt's random stream.

    Returns:
        Tokens kept: from 0, a restart at the root, to one less than the trajectory has. At least one more window fits
        behind them.

    Example:
        A trajectory of ten tokens in segments of four, with ``window=3``; the seventh token is the least probable::

            tokens            a b c d│e f g h│i j
            windows           a b c│d e f│g h i│j
            random            keeps 0, 3, 6 or 9; with max_back=2 it keeps 6 or 9
            lowest_logprob    keeps 6, so that g is drawn again
            block, size 4     keeps 0, 4 or 8: a block's beginning, likelier the less probable the block
            from_start        keeps 0
    """
    window = options.window or segment_length
    length = trajectory.length
    if length < window:
        return 0
    match options.cut:
        case CutPosition.RANDOM:
            cut = _random_window(length, window, options.max_back or length, rng)
        case CutPosition.LOWEST_LOGPROB:
            log_probs = trajectory.log_probs
            cut = log_probs.index(min(log_probs))
        case CutPosition.BLOCK:
            assert options.block_size is not None, "the configuration needs it with this cut"
            cut = _block(trajectory.log_probs, options.block_size, options.block_prefer, rng)
        case CutPosition.FROM_START:
            cut = 0
        case CutPosition.NONE:
            raise AssertionError("without a fallback nothing is cut")
    return min(cut, segment_length * (max_depth - 1))


def turn_cut(options: FallbackConfig, trajectory: Trajectory, *, rng: random.Random) -> int:
    """Draws where a trajectory of turns is cut: at the start of a turn, so 0 or behind an observation.

    The rules are those of :func:`cut_position` with a turn for a window and for a block.

    Args:
        options: The options of the fallback.
        trajectory: The trajectory.
        rng: The prompt's random stream.

    Returns:
        Nodes kept, from 0 to one less than the trajectory has.
    """
    turns = _turns(trajectory)
    starts = [0]
    for nodes in turns[:-1]:
        starts.append(starts[-1] + len(nodes))
    match options.cut:
        case CutPosition.RANDOM:
            return starts[-rng.randint(1, min(options.max_back or len(starts), len(starts)))]
        case CutPosition.LOWEST_LOGPROB:
            lowest = [min(log_probs for node in nodes for log_probs in _written(node)) for nodes in turns]
            return starts[lowest.index(min(lowest))]
        case CutPosition.BLOCK:
            sign = -1.0 if options.block_prefer is Preference.LOW else 1.0
            means = [
                sum(sum(_written(node)) for node in nodes) / sum(node.written for node in nodes) for nodes in turns
            ]
            return rng.choices(starts, softmax([sign * mean for mean in means]))[0]
        case CutPosition.FROM_START:
            return 0
        case CutPosition.NONE:
            raise AssertionError("without a fallback nothing is cut")


def _turns(trajectory: Trajectory) -> list[list[Node]]:
    """The nodes of every turn; all turns but the last end with an observation."""
    turns: list[list[Node]] = [[]]
    for node in trajectory.nodes:
        turns[-1].append(node)
        if node.observed:
            turns.append([])
    assert turns[-1], "a trajectory's last node has no observation"
    return turns


def _written(node: Node) -> Sequence[float]:
    return node.log_probs[: node.written]


def _random_window(length: int, window: int, max_back: int, rng: random.Random) -> int:
    """A multiple of the window: some windows back from the end, at least one, at most `max_back`."""
    windows = -(-length // window)
    return (windows - rng.randint(1, min(max_back, windows))) * window


def _block(log_probs: Sequence[float], size: int, prefer: Preference, rng: random.Random) -> int:
    """The start of a block drawn by a softmax over the mean log-probability of the blocks, or over its negative."""
    starts = range(0, len(log_probs), size)
    blocks = [log_probs[start : start + size] for start in starts]
    sign = -1.0 if prefer is Preference.LOW else 1.0
    weights = softmax([sign * sum(block) / len(block) for block in blocks])
    return rng.choices(starts, weights)[0]
