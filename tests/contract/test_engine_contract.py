"""Every engine keeps the promises of ``SegmentEngine``: a scripted one, and both that run on a vLLM server."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from omegaconf import DictConfig
from probe_server import ProbedEngine, Stack
from scripted_engine import ScriptedEngine
from tree_jobs import PROMPT, check_log_probs

from treepo.config import load_config
from treepo.rollout import SegmentEngine, grow_tree
from treepo.tree import NodePath, SegmentRequest, TreeSampler
from treepo.verl.rollout.portable_engine import PortableEngine

OPTIONS = {"width": 6, "segment_length": 32, "max_depth": 4, "max_divergence": 2}
# Of log-probs, by the numbers that vLLM computes in. With these models those of transformers in bfloat16 are up to
# 0.0055 off float32's, and deviate by 0.16 from token to token.
BOUNDS = {"float32": 1e-3, "bfloat16": 2e-2}
SAMPLING: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": -1}


@dataclass
class Bench:
    """An engine under test: a fresh instance per tree, and the token that ends an answer."""

    make: Callable[[str], SegmentEngine]
    eos: int


@pytest.fixture(params=["scripted", "portable", "in_engine"])
def bench(request: pytest.FixtureRequest) -> Bench:
    if request.param == "scripted":
        return Bench(make=lambda _: ScriptedEngine(eos=2), eos=2)
    stack: Stack = request.getfixturevalue("stack")
    return Bench(make=maker(stack, request.param, SAMPLING), eos=stack.eos)


def maker(stack: Stack, backend: str, sampling_params: dict[str, Any]) -> Callable[[str], SegmentEngine]:
    def portable(tree_id: str) -> SegmentEngine:
        return PortableEngine(
            client=stack.client,
            tree_id=tree_id,
            sampling_params=sampling_params,
            seeded=True,
            eos_token_ids=frozenset({stack.eos}),
        )

    def in_engine(tree_id: str) -> SegmentEngine:
        return ProbedEngine(stack.server, tree_id, sampling_params)

    return {"portable": portable, "in_engine": in_engine}[backend]


def ask(request_id: int, *, seed: int, max_tokens: int = 32) -> SegmentRequest:
    return SegmentRequest(
        id=request_id,
        nodes=(),
        max_tokens=max_tokens,
        reach=max_tokens,
        continues=False,
        parent_request=None,
        seed=seed,
        node_id=request_id + 1,
    )


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
    assert stats.recomputed_tokens <= stats.segments * (len(PROMPT) % block + block)
    assert stats.cached_tokens > 0


@pytest.mark.asyncio(loop_scope="module")
async def test_greedy_trees_are_the_same_in_the_engine_and_outside(stack: Stack) -> None:
    greedy = {**SAMPLING, "temperature": 0.0}

    async def grow(backend: str) -> list[list[tuple[NodePath, list[int], str]]]:
        make = maker(stack, backend, greedy)
        trees = await asyncio.gather(
            *(grow_tree(sampler(f"greedy {i}", stack.eos), make(f"{backend} greedy {i}")) for i in range(4))
        )
        return [
            [(trajectory.path, trajectory.tokens, trajectory.reason.value) for trajectory in tree.trajectories]
            for tree in trees
        ]

    assert await grow("in_engine") == await grow("portable")


@pytest.mark.asyncio(loop_scope="module")
async def test_log_probs_are_those_of_reading_the_whole_path_again(stack: Stack, cluster: DictConfig) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    tree = await grow_tree(sampler("read again", stack.eos), maker(stack, "in_engine", SAMPLING)("read again"))
    model = AutoModelForCausalLM.from_pretrained(stack.model, dtype=torch.float32)
    check_log_probs(tree, model, bound=BOUNDS[cluster.actor_rollout_ref.rollout.dtype])
