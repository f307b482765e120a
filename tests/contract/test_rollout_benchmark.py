"""The arms of the rollout benchmark on a real server: the same work, and what each of them asks of the engine."""

import pytest
import ray
from omegaconf import DictConfig
from probe_server import registered
from verl.workers.rollout.llm_server import LLMServerManager

from benchmarks.rollout.cell import Arm, Cell, Measured
from benchmarks.rollout.engine import Engine
from benchmarks.rollout.run import measure
from benchmarks.rollout.server import BenchmarkReplica

ARMS = (Arm.INDEPENDENT, Arm.LOCKSTEP, Arm.PORTABLE, Arm.IN_ENGINE)
CELL = Cell(prompts=4, prompt_length=40, width=4, segment_length=32, max_depth=3, slots=16, lengths="lognormal:0.5")


@pytest.fixture(scope="module")
def engine(cluster: DictConfig) -> Engine:
    with registered(BenchmarkReplica):
        manager = LLMServerManager.create(cluster, start_rank=3)
    server = manager.get_replicas()[0].server_handle  # pyright: ignore[reportAttributeAccessIssue]
    return Engine(
        client=manager.get_client(),  # pyright: ignore[reportAttributeAccessIssue]
        server=server,
        eos=2,
        words=range(40, 90),
        prompts=None,
        block_size=ray.get(server.block_size.remote()),
    )


@pytest.mark.nightly
@pytest.mark.asyncio
async def test_every_arm_hands_on_all_trajectories_and_only_ours_keeps_to_one_request_each(engine: Engine) -> None:
    steps: list[Arm] = []

    def progress(arm: Arm, repeat: int, measured: Measured) -> None:
        steps.append(arm)

    found = await measure(engine, CELL, ARMS, repeats=1, warm_up=False, seed=0, progress=progress)
    assert steps == list(ARMS)
    for arm in ARMS:
        (measured,) = found[arm]
        assert measured.trajectories == CELL.prompts * CELL.width
        assert measured.generated <= measured.response_tokens
        assert measured.computed > 0
        assert max(measured.running) <= CELL.prompts * CELL.width
    (independent,), (lockstep,), (portable,), (ours,) = (found[arm] for arm in ARMS)
    assert independent.generated == independent.response_tokens
    assert independent.requests == ours.requests == CELL.prompts * CELL.width
    assert lockstep.requests > ours.requests
    assert portable.requests > ours.requests
    assert ours.generated < ours.response_tokens
    assert ours.recomputed <= engine.block_size * (ours.requests - CELL.prompts)
    assert lockstep.recomputed > ours.recomputed
