"""The sampler of one prompt: a state machine without I/O that asks for segments until the tree has grown."""

import itertools
from collections.abc import Callable, Sequence

from treepo.config import TreePOConfig
from treepo.config.policies import CutPosition, DivergenceAllocation
from treepo.tree.allocation import PathScores, allocate_by_score, allocate_evenly, temperature
from treepo.tree.checks import argument_problem, end_problem, segment_problem
from treepo.tree.divergence import (
    draw_divergence,
    initial_requests,
    step_total,
    target_at_fallback,
    target_while_active,
)
from treepo.tree.finished import FinishedPaths
from treepo.tree.growing import GrowingPath, OpenRequest, at_root, node_of, request_behind
from treepo.tree.node import FinishReason, Node, Segment, SegmentRequest, Trajectory, Tree
from treepo.tree.randomness import RequestSeeds, prompt_stream
from treepo.tree.stats import TreeCounter
from treepo.tree.termination import classify
from treepo.tree.text import TextReader


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
        training_progress: Share of the training that is over, 0 to 1; needed where the temperature of allocation by
            log-probability follows a schedule.
        active_prompts: Returns how many prompts are growing, this one included; needed by, and asked once a step
            under, `divergence.budget=step_tokens`. Under that budget trees depend on what it answers.
        turns: Whether segments are turns of a conversation, or pieces of turns; end tokens then end no response.

    Raises:
        ValueError: A length or the width is not positive, or something that the configuration needs is missing.
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
        training_progress: float | None = None,
        active_prompts: Callable[[], int] | None = None,
        turns: bool = False,
    ) -> None:
        self.prompt_id = prompt_id
        self.prompt_tokens = prompt_tokens
        self.config = config
        self.width = config.width if width is None else width
        self.max_response_length = max_response_length
        self._training_progress = training_progress
        self._active_prompts = active_prompts
        if problem := argument_problem(
            config,
            width=self.width,
            max_response_length=max_response_length,
            training_progress=training_progress,
            counts_active_prompts=active_prompts is not None,
        ):
            raise self._error(problem)
        self._eos_token_ids = eos_token_ids
        self._turns = turns
        self._rng = prompt_stream(config.seed, prompt_id)
        self._request_seeds = RequestSeeds(config.seed, prompt_id)
        self._node_ids = itertools.count(1)
        self._texts = TextReader(config.termination, decode)
        self._scores = PathScores()
        self._wanted: dict[int, OpenRequest] = {}
        self._grown: dict[int, GrowingPath] = {}
        self._ended: set[int] = set()
        self._finished = FinishedPaths(config, node_ids=self._node_ids, texts=self._texts, rng=self._rng, turns=turns)
        self._counter = TreeCounter()
        self._done = False

    @property
    def done(self) -> bool:
        """Whether the tree has grown: its last step is over and asked for nothing more."""
        return self._done

    def start(self) -> list[SegmentRequest]:
        """The first requests.

        Raises:
            ValueError: The sampler was started before.
        """
        if self._counter.requests:
            raise self._error("the sampler was started before")
        count = initial_requests(self.config, self.width, self._rng)
        return [self._request(at_root(from_fallback=False)) for _ in range(count)]

    def receive(self, segment: Segment) -> list[SegmentRequest]:
        """Takes one segment.

        Returns:
            The requests of the next step when the segment completes its step; empty before that, and at the end.

        Raises:
            ValueError: The segment answers no open request or is not what was asked for (`segment_problem`): nothing of
                it is kept, and the request stays open. Or more than `max_dropped` trajectories were too short: the
                sampler then has no tree and never will.
        """
        wanted, node = self._take(segment)
        # Asked before anything is noted: where the caller's `decode` raises, the request stays open.
        grown = self._grow(wanted.path, node, segment)
        del self._wanted[segment.request_id]
        self._grown[segment.request_id] = grown
        self._counter.segment(segment)
        if grown.reason is not None:
            self._ended.add(segment.request_id)
        if self._wanted:
            return []
        requests = self._next_step()
        self._done = not requests
        return requests

    def ended(self, request_id: int) -> bool:
        """Whether the path that a request decoded is over, so that nothing will continue it."""
        return request_id in self._ended

    def tree(self) -> Tree:
        """The grown tree.

        Raises:
            ValueError: It has not grown yet.
        """
        if not self._done:
            if self._counter.requests and not self._wanted:
                raise self._error("there is no tree, its last step failed")
            raise self._error(f"the tree has not grown yet, {len(self._wanted)} segments are missing")
        trajectories = tuple(self._finished.trajectories)
        return Tree(
            prompt_id=self.prompt_id,
            prompt_tokens=self.prompt_tokens,
            trajectories=trajectories,
            stats=self._counter.summary(trajectories),
        )

    def _take(self, segment: Segment) -> tuple[OpenRequest, Node]:
        """The request that a segment answers, and the node that it becomes."""
        request_id = segment.request_id
        wanted = self._wanted.get(request_id)
        if wanted is None:
            known = 0 <= request_id < self._counter.requests
            raise self._error(f"request {request_id} was {'answered before' if known else 'never made'}")
        problem = segment_problem(wanted.request, segment, room=self.max_response_length - wanted.path.length)
        if problem is None:
            node = node_of(segment, wanted.request.node_id)
            problem = end_problem(wanted.request, node, self._eos_token_ids)
            if problem is None:
                return wanted, node
        raise self._error(problem)

    def _grow(self, path: GrowingPath, node: Node, segment: Segment) -> GrowingPath:
        repeated = self._texts.read(path.nodes, node)
        nodes = (*path.nodes, node)
        length = path.length + node.length
        depth = path.depth + 1
        reason = classify(
            rules=self.config.termination,
            answer_complete=self._texts.answer(nodes).complete,
            ended=segment.stopped or (not self._turns and segment.tokens[-1] in self._eos_token_ids),
            ended_by=segment.ended_by,
            repeated=repeated,
            length=length,
            max_length=self.max_response_length,
            depth=depth,
            max_depth=self.config.max_depth,
        )
        if reason is None and segment.observation:
            # A trajectory ends with a token of the model, so an observation joins only what continues.
            nodes = (*path.nodes, node_of(segment, node.id, observation=segment.observation))
            length += len(segment.observation)
        return GrowingPath(
            nodes=nodes,
            request_id=segment.request_id,
            length=length,
            depth=depth,
            from_fallback=path.from_fallback,
            reason=reason,
        )

    def _next_step(self) -> list[SegmentRequest]:
        grown = [self._grown[request_id] for request_id in sorted(self._grown)]
        self._grown = {}
        self._counter.steps += 1
        for path in grown:
            if path.reason is not None:
                self._finish(path, path.reason)
        active = [path for path in grown if path.reason is None]
        return self._diverge(active, len(grown) - len(active)) if active else self._fall_back()

    def _finish(self, path: GrowingPath, reason: FinishReason) -> None:
        least = self.config.min_trajectory_length
        if least is None or path.length >= least:
            step = self._counter.steps
            self._finished.add(
                Trajectory(nodes=path.nodes, reason=reason, finish_step=step, from_fallback=path.from_fallback)
            )
            return
        self._texts.forget(path.nodes)
        self._counter.dropped += 1
        if self._counter.dropped > self.config.max_dropped:
            raise self._error(
                f"more than treepo.max_dropped={self.config.max_dropped} trajectories were shorter than "
                f"treepo.min_trajectory_length={least}: lower the latter"
            )

    def _diverge(self, active: list[GrowingPath], just_finished: int) -> list[SegmentRequest]:
        divergence = draw_divergence(self.config, self._rng)
        total = step_total(
            self.config,
            divergence=divergence,
            active=len(active),
            just_finished=just_finished,
            finished=len(self._finished),
            width=self.width,
            target=target_while_active(
                self.config.budget,
                width=self.width,
                segment_length=self.config.segment_length,
                finished=len(self._finished),
                finished_tokens=self._finished.tokens,
                active_lengths=[path.length for path in active],
            ),
            depth=1 + max(path.depth for path in active),
            active_prompts=self._count_active_prompts,
        )
        children = self._allocate(total, active, None if self.config.divergence.transfer else divergence)
        self._counter.forks += total - len(active)
        return [
            self._request(path, continues=child == 0)
            for path, count in zip(active, children, strict=True)
            for child in range(count)
        ]

    def _allocate(self, total: int, active: list[GrowingPath], most: int | None) -> list[int]:
        options = self.config.divergence
        if options.allocation is DivergenceAllocation.EVEN:
            return allocate_evenly(total, len(active), self._rng)
        return allocate_by_score(
            total,
            [self._scores.score(path.nodes, options.logprob.score) for path in active],
            prefer=options.logprob.prefer,
            temperature=temperature(options.logprob, self._training_progress),
            most=most,
        )

    def _fall_back(self) -> list[SegmentRequest]:
        finished = len(self._finished)
        target = target_at_fallback(
            self.config.budget, width=self.width, finished=finished, finished_tokens=self._finished.tokens
        )
        # A prompt hands on one trajectory at least, even where all were dropped and nothing may be cut.
        if finished >= target or (finished and self.config.fallback.cut is CutPosition.NONE):
            return []
        self._counter.fallback(finished)
        cuts = self._finished.fall_back(target - finished, draw_divergence(self.config, self._rng))
        self._counter.forks += sum(path.length > 0 for path in cuts)
        return [self._request(path) for path in cuts]

    def _request(self, path: GrowingPath, *, continues: bool = False) -> SegmentRequest:
        request_id = self._counter.requests
        room = self.max_response_length - path.length
        seed, node_id = self._request_seeds(request_id), next(self._node_ids)
        request = request_behind(
            path, config=self.config, room=room, request_id=request_id, continues=continues, seed=seed, node_id=node_id
        )
        self._counter.requests += 1
        self._wanted[request_id] = OpenRequest(request=request, path=path)
        return request

    def _count_active_prompts(self) -> int:
        assert self._active_prompts is not None, "checked when the sampler was made"
        count = self._active_prompts()
        if count < 1:
            raise self._error(f"active_prompts gave {count}, but this prompt is growing")
        return count

    def _error(self, problem: str) -> ValueError:
        return ValueError(f"prompt {self.prompt_id}: {problem}")
