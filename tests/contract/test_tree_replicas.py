"""Several replicas: prompts are balanced, a tree stays on one server, and a server that ends takes its own along."""

import asyncio
from typing import Any

import pytest
import ray
from probe_server import Stack
from ray.exceptions import ActorDiedError
from tree_jobs import job, until

from treepo.rollout import RolloutError
from treepo.verl.rollout.tree_client import grow_on_server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.nightly]


async def growing(pair: Stack) -> list[int]:
    return [await replica.server_handle.growing.remote() for replica in pair.replicas]


async def spread(pair: Stack, names: list[str]) -> list["asyncio.Task[Any]"]:
    """Trees that grow on both servers, evenly."""
    tasks = [asyncio.create_task(grow_on_server(pair.client, job(pair, name, ignore_eos=True))) for name in names]

    async def even() -> bool:
        return await growing(pair) == [len(names) // 2] * 2

    await until(even)
    return tasks


async def test_a_server_that_leaves_hands_its_trees_to_the_other(pair: Stack) -> None:
    tasks = await spread(pair, [f"spread {i}" for i in range(8)])
    leaving, staying = pair.replicas
    address = leaving.server_address
    await pair.balancer.remove_servers.remote([address])
    await leaving.abort_all_requests(reject_request=True)

    async def moved() -> bool:
        return (await growing(pair))[0] == 0

    await until(moved)
    for grown in await asyncio.wait_for(asyncio.gather(*tasks), timeout=600):
        assert {trajectory.length for trajectory in grown.tree.trajectories} == {448}
        assert len(grown.tree.trajectories) == grown.tree.stats.submitted == 6
    assert await leaving.server_handle.open_requests.remote() == []
    assert await staying.server_handle.open_requests.remote() == []
    await leaving.resume_generation()
    await pair.balancer.add_servers.remote({address: leaving.server_handle})


async def test_a_dying_engine_or_server_fails_its_own_trees_within_seconds(pair: Stack) -> None:
    first, second = pair.replicas
    tasks = await spread(pair, [f"dying {i}" for i in range(4)])
    await first.server_handle.kill_engine.remote()
    failed = [task for task in tasks if isinstance(await settled(task), RolloutError)]
    assert len(failed) == 2
    assert all("dying" in str(task.exception()) for task in failed)
    assert await growing(pair) == [0, 0]

    await pair.balancer.remove_servers.remote([first.server_address])
    task = asyncio.create_task(grow_on_server(pair.client, job(pair, "orphan", ignore_eos=True)))

    async def grows() -> bool:
        return await second.server_handle.growing.remote() == 1

    await until(grows)
    ray.kill(second.server_handle)
    assert isinstance(await settled(task), ActorDiedError)


async def settled(task: "asyncio.Task[Any]") -> BaseException | None:
    """A task's exception, or None for its success; within a minute."""
    await asyncio.wait([task], timeout=600)
    assert task.done()
    return task.exception()
