"""Growing again from finished trajectories: which of them, in which order, and cut where."""

import random
from collections.abc import Sequence

from treepo.config import CutPosition, FallbackCandidates, FallbackConfig
from treepo.tree.node import FinishReason, Trajectory

_ENDED = (FinishReason.ANSWERED, FinishReason.EOS)


def order_candidates(options: FallbackConfig, finished: Sequence[Trajectory], rng: random.Random) -> list[int]:
    """The trajectories that may be cut, as indices into `finished`, in the order in which they are taken."""
    match options.candidates:
        case FallbackCandidates.ANSWERED_OR_EOS:
            candidates = [index for index, trajectory in enumerate(finished) if trajectory.reason in _ENDED]
        case FallbackCandidates.ANY:
            candidates = list(range(len(finished)))
    rng.shuffle(candidates)
    return candidates


def cut_position(
    options: FallbackConfig, trajectory: Trajectory, *, segment_length: int, max_depth: int, rng: random.Random
) -> int:
    """Where a trajectory is cut.

    Args:
        options: The options of the fallback.
        trajectory: The trajectory.
        segment_length: Tokens per segment.
        max_depth: Windows per trajectory.
        rng: The prompt's random stream.

    Returns:
        Tokens kept, from 0 (a restart at the root) to one less than the trajectory has; at least one more window
        fits behind them.
    """
    window = options.window or segment_length
    length = trajectory.length
    if length < window:
        return 0
    match options.cut:
        case CutPosition.RANDOM:
            cut = _random_cut(length, window, options.max_back, rng)
        case CutPosition.NONE:
            raise AssertionError("without a fallback nothing is cut")
    return min(cut, segment_length * (max_depth - 1))


def _random_cut(length: int, window: int, max_back: int | None, rng: random.Random) -> int:
    blocks = -(-length // window)
    back = rng.randint(1, min(max_back or blocks, blocks))
    return (blocks - back) * window


def share_out(remaining: int, candidates: int, divergence: int) -> list[int]:
    """New requests of each candidate in turn: `divergence` each, fewer when `remaining` runs out."""
    shares: list[int] = []
    while remaining > 0 and len(shares) < candidates:
        shares.append(min(divergence, remaining))
        remaining -= shares[-1]
    return shares
