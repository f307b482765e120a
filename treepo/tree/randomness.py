"""Random streams: one per prompt, and request seeds beside it that never disturb it."""

import hashlib
import random


def prompt_stream(seed: int, prompt_id: str) -> random.Random:
    """The random stream of one prompt's tree, the same in every process."""
    return random.Random(_digest(f"tree:{seed}:{prompt_id}"))


def request_seed(seed: int, prompt_id: str, request_id: int) -> int:
    """The engine's seed for one request, in [0, 2**63)."""
    return _digest(f"request:{seed}:{request_id}:{prompt_id}") >> 1


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
