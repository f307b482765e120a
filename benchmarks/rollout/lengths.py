"""How long responses are, where the weights mean nothing: a length drawn per path from a given law."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Protocol

from treepo.rollout import SegmentEngine
from treepo.tree import Segment, SegmentRequest

_NORMAL = NormalDist()


class LengthLaw(Protocol):
    """A distribution of response lengths."""

    def draw(self, decoded: int, rng: random.Random) -> int:
        """The length of a response that is longer than `decoded` tokens; more than any limit where it never ends."""
        ...


@dataclass(frozen=True, slots=True)
class FullLength:
    """Every response runs into its limit."""

    def draw(self, decoded: int, rng: random.Random) -> int:
        """No length at all."""
        return 2**31


@dataclass(frozen=True, slots=True)
class Memoryless:
    """Every token ends the response with the same chance; a tree saves nothing per trajectory."""

    mean: float

    def draw(self, decoded: int, rng: random.Random) -> int:
        """The tokens decoded say nothing of those to come."""
        return decoded + max(1, math.ceil(rng.expovariate(1 / self.mean)))


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Lengths around a median; `spread` is the standard deviation of their logarithm."""

    median: float
    spread: float

    def draw(self, decoded: int, rng: random.Random) -> int:
        """Inverts the distribution above the tokens decoded."""
        below = _NORMAL.cdf(self._score(decoded)) if decoded else 0.0
        chance = below + (1 - below) * rng.random()
        if chance >= 1.0:
            return decoded + 1
        length = self.median * math.exp(self.spread * _NORMAL.inv_cdf(max(chance, 1e-300)))
        return max(decoded + 1, math.ceil(length))

    def _score(self, length: int) -> float:
        return math.log(length / self.median) / self.spread


def law(text: str, longest: int) -> LengthLaw | None:
    """The law that a name stands for, scaled to the longest response.

    Args:
        text: ``full``, ``memoryless``, ``lognormal:SPREAD``, or ``model`` for the model's own end token.
        longest: Most tokens of a response. The mean and the median are half of it.

    Raises:
        ValueError: The name is not known.
    """
    kind, _, spread = text.partition(":")
    match kind:
        case "model":
            return None
        case "full":
            return FullLength()
        case "memoryless":
            return Memoryless(mean=longest / 2)
        case "lognormal":
            return LogNormal(median=longest / 2, spread=float(spread or 0.5))
    raise ValueError(f"lengths {text!r} are not known; there are model, full, memoryless, lognormal:SPREAD")


def draw_prompt_lengths(draw: random.Random, *, count: int, mean: int, block_size: int) -> list[int]:
    """Lengths of prompts that are no multiples of a block, as real ones.

    Args:
        draw: Draws them.
        count: How many.
        mean: Tokens of a prompt, in the mean.
        block_size: Tokens of a KV block.
    """
    return [max(1, mean + draw.randint(-block_size // 2, block_size // 2)) for _ in range(count)]


class DrawnLengths:
    """An engine whose answers end at drawn lengths.

    Drawing anew for every segment, given the tokens before it, gives paths the lengths of the law.
    """

    def __init__(self, inner: SegmentEngine, lengths: LengthLaw) -> None:
        self._inner = inner
        self._lengths = lengths

    async def decode_segment(self, prompt_tokens: Sequence[int], request: SegmentRequest) -> Segment:
        """Decodes one segment, or less of it; see :class:`treepo.rollout.SegmentEngine`."""
        decoded = sum(node.length for node in request.nodes)
        room = self._lengths.draw(decoded, random.Random(request.seed)) - decoded
        if room > request.max_tokens:
            return await self._inner.decode_segment(prompt_tokens, request)
        segment = await self._inner.decode_segment(prompt_tokens, replace(request, max_tokens=room))
        return replace(segment, stopped=True)

    def release(self, request_id: int) -> None:
        """Passes it on."""
        self._inner.release(request_id)

    async def close(self) -> None:
        """Passes it on."""
        await self._inner.close()
