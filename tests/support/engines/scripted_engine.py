"""An asynchronous engine without a model: tokens, ends and delays follow from each request's own seed."""

import asyncio
import random
from collections.abc import Sequence

from treepo.tree import Segment, SegmentRequest


class ScriptedEngine:
    """Decodes letters; an answer ends with `eos` at a given chance per token.

    Attributes:
        requests: Every request it was asked, in order of arrival.
        prefixes: The prefix each of them stood for.
        fail_at: Id of a request that raises; None for none.
        cancelled: Ids of the requests that were cancelled while they ran.
        released: Ids of the requests whose paths the driver said were over, in order.
        closed: Times it was closed.
    """

    def __init__(self, *, eos: int = 0, stop_chance: float = 0.05, delay: float = 0.0, seed: int = 0) -> None:
        self.eos = eos
        self.requests: list[SegmentRequest] = []
        self.prefixes: dict[int, list[int]] = {}
        self.fail_at: int | None = None
        self.cancelled: list[int] = []
        self.released: list[int] = []
        self.closed = 0
        self._stop_chance = stop_chance
        self._delay = delay
        self._order = random.Random(seed)

    async def decode_segment(self, prompt_tokens: Sequence[int], request: SegmentRequest) -> Segment:
        self.requests.append(request)
        prefix = request.prefix_tokens(prompt_tokens)
        self.prefixes[request.id] = prefix
        try:
            # Always a switch of tasks, so that segments arrive in an order of their own.
            await asyncio.sleep(self._delay * self._order.random())
        except asyncio.CancelledError:
            self.cancelled.append(request.id)
            raise
        if request.id == self.fail_at:
            raise RuntimeError("the engine is gone")
        draw = random.Random(f"{request.seed} {prefix}")
        tokens: list[int] = []
        while len(tokens) < request.max_tokens and self.eos not in tokens:
            tokens.append(self.eos if draw.random() < self._stop_chance else draw.randint(97, 122))
        return Segment(
            request_id=request.id,
            tokens=tokens,
            log_probs=[-1.0] * len(tokens),
            stopped=tokens[-1] == self.eos,
            prefix_tokens=len(prefix),
            cached_tokens=0 if request.id == 0 else len(prefix),
        )

    def release(self, request_id: int) -> None:
        self.released.append(request_id)

    async def close(self) -> None:
        self.closed += 1
