"""Random streams: one per prompt, and request seeds beside it that never disturb it."""

import hashlib
import random

_MASK = 2**64 - 1
_STEP = 0x9E3779B97F4A7C15


def prompt_stream(seed: int, prompt_id: str) -> random.Random:
    """The random stream of one prompt's tree, the same in every process."""
    return random.Random(_digest(f"tree:{seed}:{prompt_id}"))


class RequestSeeds:
    """The engine's seeds for the requests of one prompt, the same in every process.

    SplitMix64 (Steele, Lea and Flood, 2014) from a start that run seed and prompt give: no two requests of a prompt
    share a state, and a seed costs a fraction of a hash.
    """

    def __init__(self, seed: int, prompt_id: str) -> None:
        self._start = _digest(f"requests:{seed}:{prompt_id}")

    def __call__(self, request_id: int) -> int:
        """The seed of a request, in [0, 2**63)."""
        return _mix(self._start + request_id * _STEP)


def following_seed(seed: int) -> int:
    """The seed of what continues a segment that drew from `seed`, in [0, 2**63)."""
    # Shifted: a request's seed is a mixed state without its lowest bit.
    return _mix((seed << 1) + _STEP)


def _mix(state: int) -> int:
    mixed = state & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return (mixed ^ (mixed >> 31)) >> 1


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
