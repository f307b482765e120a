"""The driver: a tree grows over any engine, and nothing of it is left behind when it cannot."""

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

import pytest
from scripted_engine import ScriptedEngine

from treepo.config import load_config
from treepo.rollout import RolloutError, grow_tree
from treepo.tree import Segment, SegmentRequest, TreeSampler

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
        for depth in range(len(trajectory.nodes)):
            before = [token for node in trajectory.nodes[:depth] for token in node.tokens]
            # A split node begins where no request did; every other node was asked for with exactly this prefix.
            if depth == 0 or any(len(node.tokens) == 8 for node in trajectory.nodes[depth - 1 : depth]):
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
    assert engine.closed == 1


class SlowToClose(ScriptedEngine):
    """An engine that needs some turns of the event loop to close."""

    async def close(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        await super().close()


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 15])
async def test_a_caller_cancelled_again_and_again_still_closes_the_engine(turns: int) -> None:
    engine = SlowToClose(delay=5.0)
    growing = asyncio.create_task(grow_tree(make_sampler(), engine))
    while not engine.requests:
        await asyncio.sleep(0)
    for _ in range(3):
        growing.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await growing
    assert engine.closed == 1
    assert sorted(engine.cancelled) == sorted(request.id for request in engine.requests)


async def test_a_caller_cancelled_while_a_grown_trees_engine_closes_hears_of_it_when_it_is_closed() -> None:
    engine = SlowToClose()
    sampler = make_sampler()
    growing = asyncio.create_task(grow_tree(sampler, engine))
    while not sampler.done:
        await asyncio.sleep(0)
    growing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await growing
    assert engine.closed == 1


async def test_the_engine_is_told_of_every_path_that_is_over_and_of_no_other() -> None:
    engine = ScriptedEngine()
    await grow_tree(make_sampler(), engine)
    extended = {request.parent_request for request in engine.requests}
    assert sorted(engine.released) == [request.id for request in engine.requests if request.id not in extended]
    assert engine.closed == 1


async def test_requests_that_fail_together_are_all_looked_at() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))

    class Broken(ScriptedEngine):
        async def decode_segment(self, prompt_tokens: Sequence[int], request: SegmentRequest) -> Segment:
            raise RuntimeError("the engine is gone")

    with pytest.raises(RolloutError, match="the engine is gone"):
        await grow_tree(make_sampler(), Broken())
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == [], "asyncio reports a failed task that nobody has looked at"
