"""Trees in the actor of a real vLLM server: what they cost, and that no pause, fault or cancellation leaves a trace."""

import asyncio
from dataclasses import replace

import pytest
import torch
from probe_server import Stack
from transformers import AutoModelForCausalLM
from tree_jobs import BLOCK, check_log_probs, job, nothing_runs, started, until

from treepo.rollout import RolloutError
from treepo.verl.rollout.tree_client import grow_on_server

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_tree_submits_one_request_per_trajectory_and_recomputes_one_block_per_fork_at_most(
    stack: Stack,
) -> None:
    grown = await asyncio.gather(
        *(grow_on_server(stack.client, job(stack, f"cost {i}", ignore_eos=i % 2 == 0)) for i in range(8))
    )
    for each in grown:
        stats = each.tree.stats
        assert len(each.tree.trajectories) == stats.submitted == 6
        assert stats.segments > stats.submitted
        # Every request but the first forks: from the prompt, from a path, or from a cut.
        assert stats.recomputed_tokens <= (stats.submitted - 1) * BLOCK
    await nothing_runs(stack)


async def test_siblings_differ_and_trees_are_alike_in_every_run(stack: Stack) -> None:
    first, again, other = [
        (await grow_on_server(stack.client, job(stack, name))).tree.trajectories for name in ("alike", "alike", "other")
    ]
    tokens = [[trajectory.tokens for trajectory in trajectories] for trajectories in (first, again, other)]
    assert tokens[0] == tokens[1] != tokens[2]
    assert len({tuple(trajectory) for trajectory in tokens[0]}) == 6


async def test_a_segment_length_that_is_no_multiple_of_the_block_works(stack: Stack) -> None:
    grown = await grow_on_server(stack.client, job(stack, "odd", ignore_eos=True, segment_length=20, max_depth=6))
    assert len(grown.tree.trajectories) == grown.tree.stats.submitted == 6
    assert {trajectory.length for trajectory in grown.tree.trajectories} == {120}
    assert grown.tree.stats.recomputed_tokens <= 5 * BLOCK


async def test_a_prompt_that_fills_the_model_is_refused_in_one_line(stack: Stack) -> None:
    too_long = replace(job(stack, "full"), prompt_tokens=[40] * 512)
    with pytest.raises(RolloutError, match=r"512 tokens leave no room.*max_model_len=512"):
        await grow_on_server(stack.client, too_long)


async def test_a_pause_for_new_weights_interrupts_a_tree_and_loses_nothing(stack: Stack) -> None:
    await stack.server.set_global_steps.remote(4)
    tasks = await started(stack, *(job(stack, f"pause {i}", ignore_eos=True) for i in range(4)))
    await stack.replica.abort_all_requests()
    await stack.server.wait_for_requests_to_drain.remote()
    assert await stack.server.open_requests.remote() == []
    assert not any(task.done() for task in tasks)
    await stack.server.set_global_steps.remote(5)
    await stack.replica.resume_generation()
    for grown in await asyncio.wait_for(asyncio.gather(*tasks), timeout=600):
        trajectories = grown.tree.trajectories
        assert {trajectory.length for trajectory in trajectories} == {448}
        assert grown.tree.stats.recomputed_tokens <= 5 * BLOCK
        versions = {
            version for trajectory in trajectories for node in trajectory.nodes for version in node.weight_versions
        }
        assert versions == {4, 5}
        for trajectory in trajectories:
            seen = [version for node in trajectory.nodes for version in node.weight_versions]
            assert seen == sorted(seen)
    await nothing_runs(stack)


async def test_a_server_that_leaves_hands_its_trees_back_and_they_grow_when_one_takes_them(stack: Stack) -> None:
    tasks = await started(stack, job(stack, "leave", ignore_eos=True))
    await stack.replica.abort_all_requests(reject_request=True)
    await asyncio.sleep(1.5)
    assert await stack.server.growing.remote() == 0
    assert not tasks[0].done()
    await stack.replica.resume_generation()
    grown = await asyncio.wait_for(tasks[0], timeout=600)
    assert len(grown.tree.trajectories) == 6
    await nothing_runs(stack)


async def test_draining_waits_for_the_trees_and_for_the_gaps_between_their_segments(stack: Stack) -> None:
    tasks = await started(stack, *(job(stack, f"drain {i}", ignore_eos=True) for i in range(2)))
    await asyncio.wait_for(stack.server.wait_for_requests_to_drain.remote(), timeout=600)
    assert await stack.server.growing.remote() == 0
    await asyncio.wait_for(asyncio.gather(*tasks), timeout=50)


async def test_a_cancelled_caller_takes_its_tree_along_and_no_other(stack: Stack) -> None:
    cancelled, kept = await started(
        stack, job(stack, "cancelled", ignore_eos=True), job(stack, "kept", ignore_eos=True)
    )
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled

    async def alone() -> bool:
        return await stack.server.growing.remote() == 1

    await until(alone)
    assert all("kept" in name for name in await stack.server.open_requests.remote())
    grown = await asyncio.wait_for(kept, timeout=600)
    assert len(grown.tree.trajectories) == 6
    await nothing_runs(stack)


async def test_one_aborted_request_fails_its_tree_by_name_and_no_other(stack: Stack) -> None:
    failing, kept = await started(stack, job(stack, "failing", ignore_eos=True), job(stack, "kept", ignore_eos=True))
    names = await stack.server.open_requests.remote()
    victim = next(name for name in names if "failing" in name)
    await stack.server.abort.remote(victim)
    with pytest.raises(RolloutError, match=r"prompt failing.*was ended from outside"):
        await asyncio.wait_for(failing, timeout=200)
    assert len((await asyncio.wait_for(kept, timeout=600)).tree.trajectories) == 6
    await nothing_runs(stack)


async def test_new_weights_are_refused_while_requests_hold_prefixes_of_the_old_ones(stack: Stack) -> None:
    tasks = await started(stack, job(stack, "busy", ignore_eos=True))
    with pytest.raises(RuntimeError, match="kept its prefix cache because requests still run"):
        await stack.server.clear_kv_cache.remote()
    await asyncio.wait_for(asyncio.gather(*tasks), timeout=600)


async def test_behind_new_weights_no_tree_reads_a_prefix_of_the_old_ones(stack: Stack) -> None:
    factor = 1.5
    model = AutoModelForCausalLM.from_pretrained(stack.model, dtype=torch.float32)
    await grow_on_server(stack.client, job(stack, "old weights"))
    await stack.server.scale_weights.remote(factor)
    try:
        await stack.server.clear_kv_cache.remote()
        tree = (await grow_on_server(stack.client, job(stack, "new weights"))).tree
    finally:
        await stack.server.scale_weights.remote(1 / factor)
        await stack.server.clear_kv_cache.remote()
    for parameter in model.parameters():
        parameter.data.mul_(factor)
    check_log_probs(tree, model, bound=1e-3)
