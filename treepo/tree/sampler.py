"""The sampler of one prompt: a state machine without I/O that asks for segments until the tree has grown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from treepo.config import CutPosition, TreePOConfig
from treepo.tree.divergence import allocate_evenly, initial_requests, step_total
from treepo.tree.fallback import cut_position, order_candidates, share_out
from treepo.tree.node import (
    FinishReason,
    Node,
    Path,
    Segment,
    SegmentRequest,
    Trajectory,
    Tree,
    TreeStats,
    locate,
    make_node,
    path_length,
    split_node,
)
from treepo.tree.randomness import prompt_stream, request_seed
from treepo.tree.termination import classify
from treepo.tree.text import ROOT_SCAN, TextScan, read_text, repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A request that was made and not answered yet."""

    request: SegmentRequest
    node_id: int
    length: int
    depth: int
    from_fallback: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grown:
    """A path with the segment it just got; `reason` is None while it is active."""

    request_id: int
    path: Path
    length: int
    depth: int
    from_fallback: bool
    reason: FinishReason | None


@dataclass(slots=True)
class _Counts:
    fallbacks: int = 0
    finished_before_fallback: int = 0
    steps: int = 0
    segments: int = 0
    forks: int = 0
    tokens_generated: int = 0
    prefix_tokens: int = 0
    cached_tokens: int = 0
    first_computation: int = 0


class TreeSampler:
    """Grows one prompt's tree (paper, Algorithm 1).

    `start` gives the first requests; every segment is handed to `receive`, which gives the next requests when the
    segments of the step are complete. Requests of a step may be answered in any order: every decision follows the
    request ids and the prompt's own random stream, never the order of arrival.

    Args:
        prompt_id: Names the prompt in messages and, with the run seed, its random stream. A prompt that is sampled
            again needs another id, or it grows the same tree from the same answers.
        prompt_tokens: The prompt's token ids.
        config: The rules.
        max_response_length: Most tokens of a trajectory.
        eos_token_ids: Tokens that end a response.
        decode: Text of some token ids; asked only about single segments and parts of them.
        width: Trajectories wanted instead of the configured `width`.

    Raises:
        ValueError: `max_response_length` or `width` is not positive.
    """

    def __init__(
        self,
        *,
        prompt_id: str,
        prompt_tokens: Sequence[int],
        config: TreePOConfig,
        max_response_length: int,
        eos_token_ids: frozenset[int],
        decode: Callable[[Sequence[int]], str],
        width: int | None = None,
    ) -> None:
        self.prompt_id = prompt_id
        self.prompt_tokens = prompt_tokens
        self.config = config
        self.width = config.width if width is None else width
        self.max_response_length = max_response_length
        if max_response_length < 1:
            raise self._error(f"max_response_length={max_response_length} must be at least 1")
        if self.width < 1:
            raise self._error(f"width={self.width} must be at least 1")
        self._eos_token_ids = eos_token_ids
        self._decode = decode
        self._rng = prompt_stream(config.seed, prompt_id)
        self._next_request = 0
        self._next_node = 1
        self._wanted: dict[int, _Wanted] = {}
        self._grown: list[_Grown] = []
        self._finished: list[Trajectory] = []
        # Text state at the end of every node; a node has one prefix only, so its id is key enough.
        self._scans: dict[int, TextScan] = {}
        self._counts = _Counts()

    @property
    def done(self) -> bool:
        """Whether the tree has grown: it was started and wants no more segments."""
        return self._next_request > 0 and not self._wanted

    def start(self) -> list[SegmentRequest]:
        """The first requests.

        Raises:
            ValueError: The sampler was started before.
        """
        if self._next_request:
            raise self._error("the sampler was started before")
        count = initial_requests(self.config, self.width, self._rng)
        return [self._fresh_start(from_fallback=False) for _ in range(count)]

    def receive(self, segment: Segment) -> list[SegmentRequest]:
        """Takes one segment.

        Returns:
            The requests of the next step when the segment completes its step; empty before that, and at the end.

        Raises:
            ValueError: The segment answers no open request, is empty, longer than requested, or its log-probs are
                not aligned with its tokens. Nothing of it is kept.
        """
        wanted = self._check(segment)
        del self._wanted[segment.request_id]
        self._count(segment)
        self._grown.append(self._grow(wanted, segment))
        return [] if self._wanted else self._next_step()

    def tree(self) -> Tree:
        """The grown tree.

        Raises:
            ValueError: It has not grown yet.
        """
        if not self.done:
            raise self._error(f"the tree has not grown yet, {len(self._wanted)} segments are missing")
        return Tree(
            prompt_id=self.prompt_id,
            prompt_tokens=self.prompt_tokens,
            trajectories=tuple(self._finished),
            stats=self._stats(),
        )

    def _next_step(self) -> list[SegmentRequest]:
        grown = sorted(self._grown, key=lambda path: path.request_id)
        self._grown = []
        self._counts.steps += 1
        active = [path for path in grown if path.reason is None]
        for path in grown:
            if path.reason is not None:
                self._finish(path, path.reason)
        if active:
            return self._diverge(active, just_finished=len(grown) - len(active))
        if len(self._finished) < self.width and self.config.fallback.cut is not CutPosition.NONE:
            return self._fall_back()
        return []

    def _finish(self, path: _Grown, reason: FinishReason) -> None:
        self._finished.append(
            Trajectory(
                path=path.path,
                reason=reason,
                finish_step=self._counts.steps,
                from_fallback=path.from_fallback,
            )
        )

    def _diverge(self, active: list[_Grown], just_finished: int) -> list[SegmentRequest]:
        total = step_total(
            self.config.divergence,
            divergence=self.config.max_divergence,
            active=len(active),
            just_finished=just_finished,
            room=self.width - len(self._finished),
        )
        requests: list[SegmentRequest] = []
        for path, children in zip(active, allocate_evenly(total, len(active), self._rng), strict=True):
            self._counts.forks += children - 1
            requests += [
                self._request(
                    path.path,
                    length=path.length,
                    depth=path.depth,
                    from_fallback=path.from_fallback,
                    parent=path.request_id,
                    continues=child == 0,
                )
                for child in range(children)
            ]
        return requests

    def _fall_back(self) -> list[SegmentRequest]:
        if self._counts.fallbacks == 0:
            self._counts.finished_before_fallback = len(self._finished)
        self._counts.fallbacks += 1
        candidates = order_candidates(self.config.fallback, self._finished, self._rng)
        if not candidates:
            return [self._fresh_start(from_fallback=True)]
        shares = share_out(self.width - len(self._finished), len(candidates), self.config.max_divergence)
        # All splits come before the first request, so that no request holds a node that is split after it.
        cuts = [self._cut(candidate) for candidate in candidates[: len(shares)]]
        return [
            request
            for candidate, cut, share in zip(candidates, cuts, shares, strict=False)
            for request in self._regrow(candidate, cut, share)
        ]

    def _cut(self, candidate: int) -> int:
        """Draws where a finished trajectory is cut and makes a node end there; returns the tokens kept."""
        trajectory = self._finished[candidate]
        cut = cut_position(
            self.config.fallback,
            trajectory,
            segment_length=self.config.segment_length,
            max_depth=self.config.max_depth,
            rng=self._rng,
        )
        index, inside = locate(trajectory.path, cut)
        if inside:
            self._split(trajectory.path[index], inside, before=trajectory.path[:index])
        return cut

    def _split(self, node: Node, at: int, before: Path) -> None:
        """Splits a node, and rewrites every finished path through it."""
        head, tail = split_node(node, at, self._take_node_id(), self._take_node_id())
        scan = self._scan_after(before)
        self._scans[head.id] = read_text(scan, self._decode(head.tokens), self.config.termination.repetition)
        self._scans[tail.id] = self._scans.pop(node.id)
        index = len(before)
        for position, trajectory in enumerate(self._finished):
            path = trajectory.path
            if len(path) > index and path[index].id == node.id:
                rewritten = (*path[:index], head, tail, *path[index + 1 :])
                self._finished[position] = replace(trajectory, path=rewritten)

    def _regrow(self, candidate: int, cut: int, share: int) -> list[SegmentRequest]:
        if cut == 0:
            return [self._fresh_start(from_fallback=True) for _ in range(share)]
        path = self._finished[candidate].path
        index, inside = locate(path, cut)
        assert inside == 0, "a node ends at every cut"
        depth = -(-cut // self.config.segment_length)
        self._counts.forks += share
        return [self._request(path[:index], length=cut, depth=depth, from_fallback=True) for _ in range(share)]

    def _fresh_start(self, *, from_fallback: bool) -> SegmentRequest:
        return self._request((), length=0, depth=0, from_fallback=from_fallback)

    def _request(
        self,
        path: Path,
        *,
        length: int,
        depth: int,
        from_fallback: bool,
        parent: int | None = None,
        continues: bool = False,
    ) -> SegmentRequest:
        request = SegmentRequest(
            id=self._next_request,
            path=path,
            max_tokens=min(self.config.segment_length, self.max_response_length - length),
            continues=continues,
            parent=parent,
            seed=request_seed(self.config.seed, self.prompt_id, self._next_request),
        )
        self._next_request += 1
        self._wanted[request.id] = _Wanted(
            request=request,
            node_id=self._take_node_id(),
            length=length,
            depth=depth,
            from_fallback=from_fallback,
        )
        return request

    def _grow(self, wanted: _Wanted, segment: Segment) -> _Grown:
        rules = self.config.termination
        node = make_node(wanted.node_id, segment.tokens, segment.log_probs)
        before = self._scan_after(wanted.request.path)
        text = self._decode(node.tokens)
        scan = read_text(before, text, rules.repetition)
        self._scans[node.id] = scan
        length = wanted.length + len(node.tokens)
        depth = wanted.depth + 1
        reason = classify(
            rules=rules,
            boxed=scan.answer.complete,
            ended=segment.stopped or node.tokens[-1] in self._eos_token_ids,
            repeated=repeats(before, text, rules.repetition),
            length=length,
            max_length=self.max_response_length,
            depth=depth,
            max_depth=self.config.max_depth,
        )
        return _Grown(
            request_id=segment.request_id,
            path=(*wanted.request.path, node),
            length=length,
            depth=depth,
            from_fallback=wanted.from_fallback,
            reason=reason,
        )

    def _check(self, segment: Segment) -> _Wanted:
        request_id = segment.request_id
        wanted = self._wanted.get(request_id)
        if wanted is None:
            known = 0 <= request_id < self._next_request
            raise self._error(f"request {request_id} was {'answered before' if known else 'never made'}")
        count = len(segment.tokens)
        if not 1 <= count <= wanted.request.max_tokens:
            raise self._error(
                f"request {request_id} asked for 1 to {wanted.request.max_tokens} tokens, the engine gave {count}"
            )
        if len(segment.log_probs) != count:
            raise self._error(
                f"request {request_id} has {count} tokens but {len(segment.log_probs)} log-probs; they must align"
            )
        return wanted

    def _count(self, segment: Segment) -> None:
        counts = self._counts
        counts.segments += 1
        counts.tokens_generated += len(segment.tokens)
        counts.prefix_tokens += segment.prefix_tokens
        counts.cached_tokens += segment.cached_tokens
        if counts.steps == 0:
            # The requests at the root start together; whichever the engine took first computed the prompt.
            counts.first_computation = max(counts.first_computation, segment.prefix_tokens - segment.cached_tokens)

    def _stats(self) -> TreeStats:
        counts = self._counts
        return TreeStats(
            fallbacks=counts.fallbacks,
            finished_before_fallback=counts.finished_before_fallback if counts.fallbacks else len(self._finished),
            steps=counts.steps,
            segments=counts.segments,
            requests=self._next_request,
            forks=counts.forks,
            tokens_generated=counts.tokens_generated,
            tokens_in_trajectories=sum(path_length(trajectory.path) for trajectory in self._finished),
            prefix_tokens=counts.prefix_tokens,
            cached_tokens=counts.cached_tokens,
            recomputed_tokens=counts.prefix_tokens - counts.cached_tokens - counts.first_computation,
        )

    def _scan_after(self, path: Path) -> TextScan:
        return self._scans[path[-1].id] if path else ROOT_SCAN

    def _take_node_id(self) -> int:
        node_id = self._next_node
        self._next_node += 1
        return node_id

    def _error(self, problem: str) -> ValueError:
        return ValueError(f"prompt {self.prompt_id}: {problem}")
