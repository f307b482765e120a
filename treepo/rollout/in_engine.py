"""Trees next to an engine that streams: a path that continues keeps its running request."""

import asyncio
from array import array
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from treepo.rollout.completion import complete
from treepo.tree import Segment, SegmentRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What a running request hands out at once.

    Attributes:
        tokens: Token ids, shape [n]; may be empty, as where a pause interrupts the request, but not in the last chunk.
        log_probs: Log-probability of each token, shape [n].
        last: Whether the request is over.
        stopped: Whether the model ended the response with the last token.
        cached_tokens: Tokens of the request's prompt that came from the prefix cache.
        weight_version: The weights that decoded the tokens.
    """

    tokens: Sequence[int]
    log_probs: Sequence[float]
    last: bool
    stopped: bool
    cached_tokens: int
    weight_version: int


class Decoder(Protocol):
    """Opens requests of one tree on an engine."""

    def decode(self, tokens: list[int], *, request_id: int, max_tokens: int, seed: int) -> AsyncGenerator[Chunk, None]:
        """Decodes behind some tokens until the model stops or `max_tokens` are decoded.

        Closing the generator ends the request, and nothing but it. A chunk need not end at a segment boundary; the
        sooner one comes after a boundary, the sooner the tree continues.

        Args:
            tokens: Everything before the tokens wanted.
            request_id: Of the tree's request that opens it.
            max_tokens: Most tokens to decode.
            seed: Seed of the sampling.
        """
        ...


class InEngine:
    """Decodes the segments of one tree in requests that run on across segment boundaries.

    A request is opened where a path starts, forks or grows again from a cut; from there it decodes to the end of the
    path. Its tokens are handed out segment by segment, while it runs: every active path continues, so decoding
    past a boundary whose siblings have not arrived decides nothing beforehand.

    Attributes:
        segment_tokens: Tokens of the segments that were decoded.
        discarded_tokens: Tokens that were received but belong to no segment, because their path had ended.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.segment_tokens = 0
        self.discarded_tokens = 0
        self._decoder = decoder
        self._running: dict[int, _RunningRequest] = {}
        self._ending: set[asyncio.Future[Any]] = set()

    async def decode_segment(self, prompt_tokens: Sequence[int], request: SegmentRequest) -> Segment:
        """Decodes one segment; see :class:`treepo.rollout.SegmentEngine`.

        Raises:
            RuntimeError: The engine ended the request before its time.
        """
        if request.continues:
            assert request.parent_request is not None, "a path that continues was decoded by a request"
            running = self._running.pop(request.parent_request)
        else:
            prefix = request.prefix_tokens(prompt_tokens)
            chunks = self._decoder.decode(prefix, request_id=request.id, max_tokens=request.reach, seed=request.seed)
            running = _RunningRequest(chunks, prefix_tokens=len(prefix))
        self._running[request.id] = running
        segment = await running.segment(request)
        self.segment_tokens += len(segment.tokens)
        return segment

    def release(self, request_id: int) -> None:
        """Ends the request of a path that is over, if it still runs."""
        running = self._running.pop(request_id)
        self.discarded_tokens += running.unread
        ending = running.end()
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Ends all requests."""
        for request_id in list(self._running):
            self.release(request_id)
        # A cancelled gather would cancel what it waits for.
        await complete(asyncio.gather(*self._ending))


class _RunningRequest:
    """One request: receives chunks as they come and hands out segments."""

    def __init__(self, chunks: AsyncGenerator[Chunk, None], *, prefix_tokens: int) -> None:
        self._prefix_tokens = prefix_tokens
        self._cached_tokens = 0
        self._tokens = array("q")
        self._log_probs = array("d")
        self._versions = array("q")
        self._over = self._stopped = False
        self._news = asyncio.Event()
        self._receiver = asyncio.ensure_future(self._receive(chunks))

    @property
    def unread(self) -> int:
        """Tokens received and not handed out."""
        return len(self._tokens)

    async def segment(self, request: SegmentRequest) -> Segment:
        """The next tokens, as soon as they are complete."""
        while self.unread < request.max_tokens and not self._over:
            if self._receiver.done():
                self._receiver.result()
                raise RuntimeError(f"the engine ended segment {request.id} without a reason")
            self._news.clear()
            await self._news.wait()
        size = min(self.unread, request.max_tokens)
        stopped = self._stopped and size == self.unread
        if not size or (size < request.max_tokens and not stopped):
            raise RuntimeError(f"the engine ended segment {request.id} at {size} of {request.max_tokens} tokens")
        segment = Segment(
            request_id=request.id,
            tokens=self._tokens[:size],
            log_probs=self._log_probs[:size],
            stopped=stopped,
            prefix_tokens=self._prefix_tokens,
            cached_tokens=self._cached_tokens if self._prefix_tokens else 0,
            weight_versions=(min(self._versions[:size]), max(self._versions[:size])),
        )
        for column in (self._tokens, self._log_probs, self._versions):
            del column[:size]
        self._prefix_tokens = 0
        return segment

    def end(self) -> asyncio.Future[Any]:
        """Ends the request; what it returns is done when the engine has let go of it."""
        self._receiver.cancel()
        # Its failure, if it failed, was or will be raised where its segment is awaited.
        return asyncio.gather(self._receiver, return_exceptions=True)

    async def _receive(self, chunks: AsyncGenerator[Chunk, None]) -> None:
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    if chunk.last and not chunk.tokens:
                        # The segment before it may be handed out already, as one that the response continues behind.
                        raise RuntimeError("the engine ended a request with an empty chunk")
                    self._tokens.extend(chunk.tokens)
                    self._log_probs.extend(chunk.log_probs)
                    self._versions.extend([chunk.weight_version] * len(chunk.tokens))
                    self._cached_tokens = chunk.cached_tokens
                    self._over, self._stopped = chunk.last, chunk.stopped
                    self._news.set()
        finally:
            self._news.set()
