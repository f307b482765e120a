"""The driver: a tree grows over any engine, and nothing of it is left behind when it cannot."""

import asyncio

import pytest
from scripted_engine import ScriptedEngine

from treepo.config import load_config
from treepo.rollout import RolloutError, grow_tree
from treepo.tree import TreeSampler

PROMPT = [1, 2, 3]


def make_sampler(prompt_id: str = "p") -> TreeSampler:
    return TreeSampler(
        prompt_id=prompt_id,
        prompt_tokens=PROMPT,
        config=load_config({"width": 8, "segment_length": 8, "max_depth": 4, "max_divergence": 2}),
        max_response_length=32,
        eos_token_ids=frozenset({0}),
        decode=lambda tokens: "".join(chr(token) for token in tokens),
    )


async def test_root_to_leaf_tokens_are_what_the_engine_was_sent() -> None:
    engine = ScriptedEngine()
    tree = await grow_tree(make_sampler(), engine)
    assert len(tree.trajectories) == 8
    sent = {tuple(prefix) for prefix in engine.prefixes.values()}
    for trajectory in tree.trajectories:
        for depth in range(len(trajectory.path)):
            before = [token for node in trajectory.path[:depth] for token in node.tokens]
            # A split node begins where no request did; every other node was asked for with exactly this prefix.
            if depth == 0 or any(len(node.tokens) == 8 for node in trajectory.path[depth - 1 : depth]):
                assert tuple(PROMPT + before) in sent


async def test_the_tree_does_not_depend_on_the_order_of_arrival() -> None:
    trees = [await grow_tree(make_sampler(), ScriptedEngine(delay=0.002, seed=order)) for order in range(3)]
    tokens = [[trajectory.tokens for trajectory in tree.trajectories] for tree in trees]
    assert tokens[0] == tokens[1] == tokens[2]


async def test_prompts_do_not_wait_for_each_other() -> None:
    slow, fast = ScriptedEngine(delay=5.0), ScriptedEngine()
    waiting = asyncio.create_task(grow_tree(make_sampler("slow"), slow))
    tree = await asyncio.wait_for(grow_tree(make_sampler("fast"), fast), timeout=2)
    assert len(tree.trajectories) == 8
    assert not waiting.done()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_failed_request_cancels_its_siblings_and_names_the_prompt() -> None:
    engine = ScriptedEngine(delay=5.0)
    sampler = make_sampler("maths 7")
    engine.fail_at = 0

    async def fail_first(prompt_tokens, request, wait=engine.decode_segment):
        if request.id == 0:
            raise RuntimeError("the engine is gone")
        return await wait(prompt_tokens, request)

    engine.decode_segment = fail_first  # type: ignore[method-assign]
    with pytest.raises(RolloutError, match=r"maths 7.*the engine is gone"):
        await asyncio.wait_for(grow_tree(sampler, engine), timeout=2)
    others = [request.id for request in engine.requests]
    assert others
    assert sorted(engine.cancelled) == sorted(others)


async def test_a_cancelled_caller_leaves_no_request_running() -> None:
    engine = ScriptedEngine(delay=5.0)
    growing = asyncio.create_task(grow_tree(make_sampler(), engine))
    while not engine.requests:
        await asyncio.sleep(0)
    growing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await growing
    assert sorted(engine.cancelled) == sorted(request.id for request in engine.requests)
