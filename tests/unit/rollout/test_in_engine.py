"""Trees beside a streaming engine: one request per trajectory, its tokens as they came, nothing left behind."""

import asyncio
from collections.abc import AsyncGenerator
from itertools import pairwise
from typing import Any

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_decoder import ResubmittingEngine, ScriptedDecoder

from treepo.config import load_config
from treepo.rollout import Chunk, InEngine, RolloutError, grow_tree
from treepo.tree import NodePath, SegmentRequest, Tree, TreeSampler

PROMPT = [1, 2, 3]
OPTIONS: dict[str, Any] = {"width": 8, "segment_length": 8, "max_depth": 4, "max_divergence": 2}


def make_sampler(max_response_length: int = 32, **options: Any) -> TreeSampler:
    return TreeSampler(
        prompt_id="p",
        prompt_tokens=PROMPT,
        config=load_config(OPTIONS | options),
        max_response_length=max_response_length,
        eos_token_ids=frozenset({0}),
        decode=lambda tokens: "".join(chr(token) for token in tokens),
    )


def ask(request_id: int, *, max_tokens: int = 8, reach: int = 32, parent: int | None = None) -> SegmentRequest:
    return SegmentRequest(
        id=request_id,
        nodes=(),
        max_tokens=max_tokens,
        reach=reach,
        continues=parent is not None,
        parent_request=parent,
        seed=request_id,
        node_id=request_id + 1,
    )


def shape(tree: Tree) -> list[tuple[NodePath, list[int], str]]:
    return [(trajectory.path, trajectory.tokens, trajectory.reason.value) for trajectory in tree.trajectories]


async def test_a_tree_opens_one_request_per_trajectory_and_recomputes_nothing_at_a_plain_boundary() -> None:
    decoder = ScriptedDecoder(branching=True)
    tree = await grow_tree(make_sampler(), InEngine(decoder))
    assert len(decoder.opened) == len(tree.trajectories) == tree.stats.submitted == 8
    assert tree.stats.segments > 8
    assert tree.stats.prefix_tokens == sum(len(prefix) for prefix, _ in decoder.opened.values())


async def test_a_request_may_decode_to_the_end_of_its_path_and_no_further() -> None:
    decoder = ScriptedDecoder(branching=True, stop_chance=0.05)
    await grow_tree(make_sampler(max_response_length=30), InEngine(decoder))
    assert {len(prefix) - len(PROMPT) + most for prefix, most in decoder.opened.values()} == {30}


@settings(max_examples=examples(20), deadline=None)
@given(
    stop_chance=st.sampled_from([0.0, 0.01, 0.05, 0.2]),
    interval=st.sampled_from([1, 2, 4, 8]),
    width=st.integers(2, 12),
    segment_length=st.sampled_from([8, 16]),
    max_response_length=st.integers(20, 64),
    seed=st.integers(0, 50),
)
def test_keeping_the_request_gives_the_trees_of_resubmitting_every_segment(
    stop_chance: float, interval: int, width: int, segment_length: int, max_response_length: int, seed: int
) -> None:
    def sampler() -> TreeSampler:
        options: dict[str, Any] = {"width": width, "segment_length": segment_length, "seed": seed}
        return make_sampler(max_response_length, max_depth=max_response_length // segment_length + 1, **options)

    kept = InEngine(ScriptedDecoder(stop_chance=stop_chance, interval=interval))
    tree = asyncio.run(grow_tree(sampler(), kept))
    again = asyncio.run(grow_tree(sampler(), ResubmittingEngine(stop_chance=stop_chance)))
    assert shape(tree) == shape(again)
    assert tree.stats.submitted <= again.stats.submitted


async def test_a_path_continues_while_its_sibling_is_awaited() -> None:
    decoder = ScriptedDecoder(branching=True, stop_chance=0.0)
    decoder.held = {1}
    growing = asyncio.create_task(grow_tree(make_sampler(), InEngine(decoder)))
    for _ in range(100):
        await asyncio.sleep(0)
    assert decoder.decoded[0] == 32
    assert set(decoder.opened) == {0, 1}
    decoder.let_go.set()
    assert len((await growing).trajectories) == 8


async def test_a_path_that_a_rule_ends_is_ended_at_once_and_alone() -> None:
    decoder = ScriptedDecoder(branching=True, stop_chance=0.0)
    decoder.held = {1}
    engine = InEngine(decoder)
    first = asyncio.ensure_future(engine.decode_segment(PROMPT, ask(0)))
    second = asyncio.ensure_future(engine.decode_segment(PROMPT, ask(1)))
    await first
    engine.release(0)
    for _ in range(3):
        await asyncio.sleep(0)
    assert decoder.running == {1}
    decoder.let_go.set()
    assert len((await second).tokens) == 8
    await engine.close()
    assert decoder.running == set()
    assert engine.discarded_tokens >= 1
    # Together all that was received, which is what is lost where the tree is given up.
    assert engine.segment_tokens == len((await first).tokens) + len((await second).tokens)


class Spelled(ScriptedDecoder):
    """Decodes given tokens, in chunks of one and then of eight."""

    def __init__(self, tokens: list[int]) -> None:
        super().__init__()
        self._spelled = tokens

    async def decode(
        self, tokens: list[int], *, request_id: int, max_tokens: int, seed: int
    ) -> AsyncGenerator[Chunk, None]:
        ends = [1, *range(9, len(self._spelled), 8), len(self._spelled)]
        for start, end in pairwise([0, *dict.fromkeys(ends)]):
            await asyncio.sleep(0)
            yield Chunk(
                tokens=self._spelled[start:end],
                log_probs=[-1.0] * (end - start),
                last=end == len(self._spelled),
                stopped=end == len(self._spelled) and self._spelled[-1] == 0,
                cached_tokens=0,
                weight_version=1,
            )


async def test_an_end_token_right_at_a_boundary_stops_the_segment() -> None:
    engine = InEngine(Spelled([7] * 7 + [0]))
    segment = await engine.decode_segment(PROMPT, ask(0))
    assert list(segment.tokens) == [7] * 7 + [0]
    assert segment.stopped
    await engine.close()


async def test_an_end_token_right_behind_a_boundary_is_a_segment_of_its_own() -> None:
    engine = InEngine(Spelled([7] * 8 + [0]))
    first = await engine.decode_segment(PROMPT, ask(0))
    assert (list(first.tokens), first.stopped) == ([7] * 8, False)
    second = await engine.decode_segment(PROMPT, ask(1, parent=0))
    assert (list(second.tokens), second.stopped) == ([0], True)
    await engine.close()


async def test_a_request_that_ends_before_its_time_is_an_error() -> None:
    engine = InEngine(Spelled([7] * 8))
    assert len((await engine.decode_segment(PROMPT, ask(0))).tokens) == 8
    with pytest.raises(RuntimeError, match="segment 1 at 0 of 8 tokens"):
        await engine.decode_segment(PROMPT, ask(1, parent=0))
    await engine.close()


@pytest.mark.parametrize("unread", [0, 3])
async def test_an_empty_last_chunk_is_an_error_whether_tokens_wait_or_not(unread: int) -> None:
    class EndsLate(ScriptedDecoder):
        async def decode(
            self, tokens: list[int], *, request_id: int, max_tokens: int, seed: int
        ) -> AsyncGenerator[Chunk, None]:
            said: dict[str, Any] = {"cached_tokens": 0, "weight_version": 1}
            yield Chunk(tokens=[7] * 8, log_probs=[-1.0] * 8, last=False, stopped=False, **said)
            yield Chunk(tokens=[], log_probs=[], last=False, stopped=False, **said)
            yield Chunk(tokens=[7] * unread, log_probs=[-1.0] * unread, last=False, stopped=False, **said)
            yield Chunk(tokens=[], log_probs=[], last=True, stopped=True, **said)

    engine = InEngine(EndsLate())
    segment = await engine.decode_segment(PROMPT, ask(0))
    assert (list(segment.tokens), segment.stopped) == ([7] * 8, False), "a chunk between may be empty"
    with pytest.raises(RuntimeError, match="the engine ended a request with an empty chunk"):
        await engine.decode_segment(PROMPT, ask(1, parent=0))
    await engine.close()


async def test_closing_ends_every_request_although_its_caller_is_cancelled_meanwhile() -> None:
    let_go_of: set[int] = set()

    class SlowToLetGo(ScriptedDecoder):
        async def decode(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Chunk, None]:
            try:
                async for chunk in super().decode(*args, **kwargs):
                    yield chunk
            finally:
                for _ in range(10):
                    await asyncio.sleep(0)
                let_go_of.add(kwargs["request_id"])

    decoder = SlowToLetGo(branching=True, stop_chance=0.0)
    decoder.held = {0, 1}
    engine = InEngine(decoder)
    waiting = [asyncio.ensure_future(engine.decode_segment(PROMPT, ask(number))) for number in range(2)]
    while len(decoder.running) < 2:
        await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    closing = asyncio.create_task(engine.close())
    for _ in range(3):
        await asyncio.sleep(0)
        closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert let_go_of == {0, 1}


async def test_only_the_segment_that_opened_a_request_counts_its_prefix() -> None:
    engine = InEngine(ScriptedDecoder(stop_chance=0.0))
    first = await engine.decode_segment(PROMPT, ask(0))
    second = await engine.decode_segment(PROMPT, ask(1, parent=0))
    assert (first.prefix_tokens, first.cached_tokens) == (3, 1)
    assert (second.prefix_tokens, second.cached_tokens) == (0, 0)
    await engine.close()


async def test_a_segment_says_which_weights_decoded_it() -> None:
    decoder = ScriptedDecoder(stop_chance=0.0)
    decoder.held = {0}
    engine = InEngine(decoder)
    waiting = asyncio.ensure_future(engine.decode_segment(PROMPT, ask(0)))
    for _ in range(20):
        await asyncio.sleep(0)
    decoder.version = 5
    decoder.let_go.set()
    assert (await waiting).weight_versions == (3, 5)
    assert (await engine.decode_segment(PROMPT, ask(1, parent=0))).weight_versions == (5, 5)
    await engine.close()


async def test_a_request_that_fails_fails_the_tree_and_ends_its_siblings() -> None:
    decoder = ScriptedDecoder(branching=True, stop_chance=0.0)
    decoder.fail_at = 1
    decoder.held = {0}
    with pytest.raises(RolloutError, match=r"prompt p.*the engine is gone"):
        await asyncio.wait_for(grow_tree(make_sampler(), InEngine(decoder)), timeout=5)
    assert decoder.running == set()


async def test_a_cancelled_caller_leaves_no_request_running() -> None:
    decoder = ScriptedDecoder(branching=True, stop_chance=0.0)
    decoder.held = {0, 1}
    growing = asyncio.create_task(grow_tree(make_sampler(), InEngine(decoder)))
    while len(decoder.running) < 2:
        await asyncio.sleep(0)
    growing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await growing
    assert decoder.running == set()
