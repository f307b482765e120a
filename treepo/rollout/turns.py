"""Trees of turns over any engine: where the model ends a turn, its environment answers, and the path continues."""

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from treepo.config import DivergenceConfig, FallbackConfig, TreePOConfig
from treepo.config.policies import CutPosition, FallbackCandidates
from treepo.environment.talk import EndedTurn, Talk
from treepo.rollout.engine import SegmentEngine
from treepo.tree import FinishReason, Segment, SegmentRequest
from treepo.tree.growing import node_of
from treepo.tree.node import Nodes
from treepo.tree.randomness import following_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLimits:
    """The limits of a path.

    Attributes:
        segment_length: Most tokens of a segment.
        max_depth: Most segments.
        max_response_length: Most tokens, observations included.
    """

    segment_length: int
    max_depth: int
    max_response_length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What stands behind a segment.

    Attributes:
        state: The conversation behind the last turn that ended, as the talk gave it.
        turns: Turns that ended.
        said: What the model wrote of a turn that has not ended, shape [n].
    """

    state: Any
    turns: int
    said: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grown:
    """A segment, what stands behind it, and the path's next one; None where the path is over."""

    segment: Segment
    behind: Behind
    following: "_Piece | None"


@dataclass(slots=True, kw_only=True)
class _Piece:
    """A segment that is wanted, or will be.

    Attributes:
        request: What the engine is asked; ids of requests and nodes that no sampler made are negative.
        before: What stands before it.
        task: Decodes it, and answers the turn if it ends one.
    """

    request: SegmentRequest
    before: Behind
    task: asyncio.Task[_Grown] | None = None


class TurnEngine:
    """Decodes the segments of one tree of turns; see :class:`treepo.rollout.SegmentEngine`.

    The end of a turn ends its request; the next turn is a new one, whose prefix the engine's cache holds. Pieces of one
    turn keep their running request where the engine has such.

    Every path that is not over continues, so its next segment is begun as soon as its observation is there, and nobody
    waits for the slow environment of another path but where the tree forks. What is decoded does not depend on it: a
    segment that continues a path draws from a seed that follows from the segment's before it.

    Attributes:
        calls: Requests that were opened: one per turn where turns fit into a segment.
        observed_tokens: Tokens of observations that joined the tree.
    """

    def __init__(
        self,
        engine: SegmentEngine,
        talk: Talk,
        *,
        limits: TurnLimits,
        ends_by_text: Callable[[Nodes], bool],
        run_ahead: bool = True,
    ) -> None:
        """Wraps an engine.

        Args:
            engine: Decodes segments; a turn's last token is a segment's last.
            talk: Answers the turns. It is closed with the engine.
            limits: The sampler's limits.
            ends_by_text: Whether a path's text ends it, see :func:`treepo.tree.text.ends_by_text`.
            run_ahead: Whether a path's next segment is begun before the tree asks for it.
        """
        self.calls = 0
        self.observed_tokens = 0
        self._engine = engine
        self._talk = talk
        self._limits = limits
        self._ends_by_text = ends_by_text
        self._run_ahead = run_ahead
        self._own_ids = 0
        self._behind: dict[int, Behind] = {}
        # By the id of the sampler's request: what continues its path, and the engine's request while it runs.
        self._following: dict[int, _Piece] = {}
        self._engine_ids: dict[int, int] = {}
        self._running: set[int] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def decode_segment(self, prompt_tokens: Sequence[int], request: SegmentRequest) -> Segment:
        """Decodes a segment and, where it ends a turn, has it answered."""
        if request.continues:
            assert request.parent_request is not None, "a path that continues was decoded by a request"
            piece = self._following.pop(request.parent_request)
        else:
            piece = _Piece(request=request, before=self.behind(request.nodes))
        grown = await self._begin(prompt_tokens, piece)
        self._behind[request.node_id] = grown.behind
        self._engine_ids[request.id] = piece.request.id
        self.observed_tokens += len(grown.segment.observation)
        if grown.following is not None:
            self._following[request.id] = grown.following
        return dataclasses.replace(grown.segment, request_id=request.id)

    def behind(self, path: Nodes) -> Behind:
        """What stands behind a path of the tree."""
        return self._behind[path[-1].id] if path else Behind(state=self._talk.root, turns=0, said=())

    def release(self, request_id: int) -> None:
        """Ends the request of a path that is over, if it still runs."""
        self._end_request(self._engine_ids[request_id])

    async def close(self) -> None:
        """Ends everything that still runs, and all conversations."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._engine.close()
        finally:
            await self._talk.close()

    def _begin(self, prompt_tokens: Sequence[int], piece: _Piece) -> asyncio.Task[_Grown]:
        if piece.task is None:
            piece.task = self._start(self._grow(prompt_tokens, piece))
        return piece.task

    def _start(self, work: Coroutine[Any, Any, _Grown]) -> asyncio.Task[_Grown]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[_Grown]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Raised where the segment is wanted; one that is wanted by nobody any more is not reported by asyncio.
            task.exception()

    async def _grow(self, prompt_tokens: Sequence[int], piece: _Piece) -> _Grown:
        request = piece.request
        self.calls += not request.continues
        if request.continues:
            assert request.parent_request is not None, "made with the request before it"
            self._running.discard(request.parent_request)
        self._running.add(request.id)
        segment = await self._engine.decode_segment(prompt_tokens, request)
        path = (*request.nodes, node_of(segment, request.node_id, observation=segment.observation))
        said = (*piece.before.said, *segment.tokens)
        if segment.stopped:
            self._end_request(request.id)
            segment, behind = await self._answer(prompt_tokens, piece, segment, path)
        else:
            behind = dataclasses.replace(piece.before, said=said)
        if segment.stopped or (not segment.observation and self._over(path)):
            return _Grown(segment=segment, behind=behind, following=None)
        path = (*request.nodes, node_of(segment, request.node_id, observation=segment.observation))
        following = _Piece(request=self._next_request(request, path), before=behind)
        if self._run_ahead:
            self._begin(prompt_tokens, following)
        return _Grown(segment=segment, behind=behind, following=following)

    async def _answer(
        self, prompt_tokens: Sequence[int], piece: _Piece, segment: Segment, path: Nodes
    ) -> tuple[Segment, Behind]:
        """The segment with what follows the turn that it ends."""
        said = (*piece.before.said, *segment.tokens)
        may_continue = not self._over(path)
        everything = [*piece.request.prefix_tokens(prompt_tokens), *segment.tokens]
        answer = await self._talk.answer(
            EndedTurn(
                state=piece.before.state,
                tokens=said,
                prefix=everything[: len(everything) - len(said)],
                number=piece.before.turns + 1,
                seed=piece.request.seed,
                may_continue=may_continue,
                next_is_last=len(path) + 1 == self._limits.max_depth,
            )
        )
        behind = Behind(state=answer.state, turns=piece.before.turns + 1, said=())
        if answer.ended_by is not None or not may_continue:
            return dataclasses.replace(segment, ended_by=answer.ended_by or self._limit(path)), behind
        kept = len(segment.tokens) - answer.replaced
        if kept < 1:
            # The token that ends the turn stands alone in its segment, and the chat template wants it away.
            return dataclasses.replace(segment, ended_by=FinishReason.FAILED), behind
        room = self._room(path) + answer.replaced - len(answer.tokens)
        if room < 1:
            return dataclasses.replace(segment, ended_by=FinishReason.MAX_TOKENS), behind
        return (
            dataclasses.replace(
                segment,
                tokens=segment.tokens[:kept],
                log_probs=segment.log_probs[:kept],
                stopped=False,
                observation=answer.tokens,
            ),
            behind,
        )

    def _next_request(self, request: SegmentRequest, path: Nodes) -> SegmentRequest:
        """What the engine is asked for behind a path of the same turn, or of the next one."""
        self._own_ids -= 1
        room = self._room(path)
        windows = self._limits.max_depth - len(path)
        return SegmentRequest(
            id=self._own_ids,
            nodes=path,
            max_tokens=min(self._limits.segment_length, room),
            reach=min(windows * self._limits.segment_length, room),
            continues=not path[-1].observed,
            parent_request=request.id,
            seed=following_seed(request.seed),
            node_id=self._own_ids,
        )

    def _over(self, path: Nodes) -> bool:
        """Whether the path ends here, whatever its environment would say."""
        return self._room(path) < 1 or len(path) >= self._limits.max_depth or self._ends_by_text(path)

    def _limit(self, path: Nodes) -> FinishReason:
        """Why a path ends that is over, where it has no answer."""
        if self._room(path) < 1:
            return FinishReason.MAX_TOKENS
        return FinishReason.MAX_DEPTH if len(path) >= self._limits.max_depth else FinishReason.REPETITION

    def _room(self, path: Nodes) -> int:
        return self._limits.max_response_length - sum(node.length for node in path)

    def _end_request(self, engine_id: int) -> None:
        if engine_id in self._running:
            self._running.discard(engine_id)
            self._engine.release(engine_id)


def without_forks(options: TreePOConfig) -> TreePOConfig:
    """The options of ``treepo.environment.fork=none``: `width` conversations begin at the root, and none forks."""
    anew = FallbackConfig(candidates=FallbackCandidates.ANY, cut=CutPosition.FROM_START)
    return options.model_copy(
        update={
            "initial_divergence": (options.width, options.width),
            "max_divergence": 1,
            "divergence": DivergenceConfig(transfer=False),
            "fallback": options.fallback if options.fallback.cut is CutPosition.NONE else anew,
        }
    )
