"""A streaming engine without a model: the next token follows from the tokens before it, as in greedy decoding."""

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence

from treepo.rollout import Chunk
from treepo.tree import Segment, SegmentRequest


def next_token(tokens: Sequence[int], *, eos: int, stop_chance: float) -> int:
    """A letter, or `eos`, that depends on all tokens before it and on nothing else."""
    draw = random.Random(str(list(tokens)))
    return eos if draw.random() < stop_chance else draw.randint(97, 122)


class ScriptedDecoder:
    """Streams letters as vLLM does: the first token at once, then `interval` tokens at a time.

    Attributes:
        opened: Every request, by id: its prefix and the most tokens it may have.
        running: Ids of the requests that run now.
        decoded: Tokens decoded by each request.
        fail_at: Id of a request that fails after its first chunk; None for none.
        held: Ids of requests that wait before their second chunk until `let_go` is set.
        version: The weights that decode.
    """

    def __init__(self, *, eos: int = 0, stop_chance: float = 0.02, interval: int = 8, branching: bool = False) -> None:
        self.eos = eos
        self.opened: dict[int, tuple[list[int], int]] = {}
        self.running: set[int] = set()
        self.decoded: dict[int, int] = {}
        self.fail_at: int | None = None
        self.held: set[int] = set()
        self.let_go = asyncio.Event()
        self.version = 3
        self._stop_chance = stop_chance
        self._interval = interval
        self._branching = branching

    async def decode(
        self, tokens: list[int], *, request_id: int, max_tokens: int, seed: int
    ) -> AsyncGenerator[Chunk, None]:
        assert request_id not in self.opened, "a request is opened once"
        self.opened[request_id] = (list(tokens), max_tokens)
        self.running.add(request_id)
        path = [*tokens, seed] if self._branching else list(tokens)
        sent = decoded = 0
        try:
            while True:
                await asyncio.sleep(0)
                path.append(next_token(path, eos=self.eos, stop_chance=self._stop_chance))
                decoded += 1
                stopped = path[-1] == self.eos
                last = stopped or decoded == max_tokens
                self.decoded[request_id] = decoded
                if last or sent == 0 or decoded - sent >= self._interval:
                    if sent and request_id in self.held:
                        await self.let_go.wait()
                    if sent and request_id == self.fail_at:
                        raise RuntimeError("the engine is gone")
                    fresh = path[-(decoded - sent) :]
                    sent = decoded
                    yield Chunk(
                        tokens=fresh,
                        log_probs=[-0.5] * len(fresh),
                        last=last,
                        stopped=stopped,
                        cached_tokens=len(tokens) // 2,
                        weight_version=self.version,
                    )
                if last:
                    return
        finally:
            self.running.discard(request_id)


class ResubmittingEngine:
    """Decodes the same tokens as `ScriptedDecoder`, every segment from its whole prefix."""

    def __init__(self, *, eos: int = 0, stop_chance: float = 0.02) -> None:
        self._eos = eos
        self._stop_chance = stop_chance

    async def decode_segment(self, prompt_tokens: Sequence[int], request: SegmentRequest) -> Segment:
        await asyncio.sleep(0)
        path = request.prefix_tokens(prompt_tokens)
        start = len(path)
        while len(path) - start < request.max_tokens and path[start:][-1:] != [self._eos]:
            path.append(next_token(path, eos=self._eos, stop_chance=self._stop_chance))
        return Segment(
            request_id=request.id,
            tokens=path[start:],
            log_probs=[-0.5] * (len(path) - start),
            stopped=path[-1] == self._eos,
            prefix_tokens=start,
        )

    def release(self, request_id: int) -> None:
        """Nothing runs on."""

    async def close(self) -> None:
        """Nothing runs on."""
