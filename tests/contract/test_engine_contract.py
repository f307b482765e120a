"""Every engine keeps the promises of ``SegmentEngine``: the scripted one, and the portable one on a vLLM server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from scripted_engine import ScriptedEngine

from treepo.config import load_config
from treepo.rollout import SegmentEngine, grow_tree
from treepo.tree import SegmentRequest, TreeSampler

PROMPT = list(range(40, 80))
OPTIONS = {"width": 6, "segment_length": 32, "max_depth": 4, "max_divergence": 2}


@dataclass
class Bench:
    """An engine under test: a fresh instance per tree, and the token that ends an answer."""

    make: Callable[[str], SegmentEngine]
    eos: int


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["scripted", "portable"])
async def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    if request.param == "scripted":
        yield Bench(make=lambda _: ScriptedEngine(eos=2), eos=2)
        return
    async for made in _on_vllm(tmp_path_factory.mktemp("model")):
        yield made


async def _on_vllm(folder: Path) -> AsyncIterator[Bench]:
    import ray
    from tiny_stack import compose_tiny, ray_options, write_tiny_model
    from transformers import AutoTokenizer
    from verl.workers.rollout.llm_server import LLMServerManager

    from treepo.verl.portable_engine import PortableEngine

    model = write_tiny_model(folder)
    config = compose_tiny(model, ["actor_rollout_ref.rollout.nnodes=1", "actor_rollout_ref.rollout.load_format=auto"])
    ray.init(**ray_options(config))
    try:
        # Outside a coroutine function verl runs its own event loop and returns the manager itself.
        manager: Any = LLMServerManager.create(config)
        client = manager.get_client()
        eos = AutoTokenizer.from_pretrained(model).eos_token_id

        def make(tree_id: str) -> SegmentEngine:
            return PortableEngine(
                client=client,
                tree_id=tree_id,
                sampling_params={"temperature": 1.0, "top_p": 1.0, "top_k": -1},
                seeded=True,
                eos_token_ids=frozenset({eos}),
            )

        yield Bench(make=make, eos=eos)
    finally:
        ray.shutdown()


def ask(request_id: int, *, seed: int, max_tokens: int = 32) -> SegmentRequest:
    return SegmentRequest(id=request_id, path=(), max_tokens=max_tokens, continues=False, parent=None, seed=seed)


def sampler(prompt_id: str, eos: int) -> TreeSampler:
    return TreeSampler(
        prompt_id=prompt_id,
        prompt_tokens=PROMPT,
        config=load_config(OPTIONS),
        max_response_length=128,
        eos_token_ids=frozenset({eos}),
        decode=lambda tokens: "".join(chr(token) for token in tokens),
    )


@pytest.mark.asyncio(loop_scope="module")
async def test_a_segment_answers_its_request_within_its_length_and_with_a_log_prob_per_token(bench: Bench) -> None:
    engine = bench.make("lengths")
    segments = await asyncio.gather(
        *(engine.decode_segment(PROMPT, ask(i, seed=i, max_tokens=most)) for i, most in enumerate((1, 7, 32)))
    )
    for segment, (request_id, most) in zip(segments, enumerate((1, 7, 32)), strict=True):
        assert segment.request_id == request_id
        assert 1 <= len(segment.tokens) <= most
        assert len(segment.log_probs) == len(segment.tokens)
        assert all(log_prob <= 0 for log_prob in segment.log_probs)


@pytest.mark.asyncio(loop_scope="module")
async def test_stopped_is_set_exactly_where_the_last_token_ends_the_answer(bench: Bench) -> None:
    engine = bench.make("stops")
    segments = await asyncio.gather(*(engine.decode_segment(PROMPT, ask(i, seed=i)) for i in range(48)))
    assert {segment.stopped for segment in segments} == {True, False}
    for segment in segments:
        assert segment.stopped == (segment.tokens[-1] == bench.eos)
        assert segment.stopped or len(segment.tokens) == 32
        assert bench.eos not in list(segment.tokens)[:-1]


@pytest.mark.asyncio(loop_scope="module")
async def test_the_same_seed_and_prefix_give_the_same_tokens_and_siblings_differ(bench: Bench) -> None:
    engine = bench.make("seeds")
    again = await asyncio.gather(*(engine.decode_segment(PROMPT, ask(i, seed=11)) for i in range(2)))
    other = await engine.decode_segment(PROMPT, ask(2, seed=12))
    assert list(again[0].tokens) == list(again[1].tokens)
    assert list(again[0].tokens) != list(other.tokens)


@pytest.mark.asyncio(loop_scope="module")
async def test_trees_grow_side_by_side_and_alike_in_every_run(bench: Bench) -> None:
    async def grow(run: int) -> list[list[list[int]]]:
        trees = await asyncio.gather(
            *(grow_tree(sampler(f"prompt {i}", bench.eos), bench.make(f"run {run} prompt {i}")) for i in range(4))
        )
        return [[list(trajectory.tokens) for trajectory in tree.trajectories] for tree in trees]

    first, second = await grow(0), await grow(1)
    assert all(len(trajectories) == OPTIONS["width"] for trajectories in first)
    assert first == second


@pytest.mark.asyncio(loop_scope="module")
async def test_the_engine_reports_prefixes_from_its_cache(bench: Bench) -> None:
    tree = await grow_tree(sampler("cached", bench.eos), bench.make("cached"))
    stats = tree.stats
    assert 0 <= stats.prefix_tokens - stats.cached_tokens - stats.recomputed_tokens <= len(PROMPT)
    # A segment boundary is a block boundary here: what is not cached is at most the unfinished block of the prompt
    # and the segment's last token.
    block = 32
    assert stats.recomputed_tokens <= stats.requests * (len(PROMPT) % block + block)
    assert stats.cached_tokens > 0
