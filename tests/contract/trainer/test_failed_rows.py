"""A tree of which one trajectory could not be scored or written has no rows at all, and the step trains without it.

verl's worker and replay buffer are the real ones; what stands in is the queue, the reward worker and the rollout.
"""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from in_memory_queue import InMemoryQueue
from omegaconf import OmegaConf
from verl.experimental.agent_loop import AgentLoopOutput
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

from treepo.verl.rollout.agent_loop import TreeAgentLoopWorker

WIDTH = 3


class Rewards:
    """verl's reward worker; cannot score some trajectories, given as a prompt and a place in its tree."""

    def __init__(self, failing: set[tuple[str, int]]) -> None:
        self.scored: list[tuple[str, int]] = []
        self._failing = failing
        self.compute_score = SimpleNamespace(remote=self._score)

    async def _score(self, data: Any) -> dict[str, Any]:
        place = str(data.non_tensor_batch["uid"][0]), int(data.non_tensor_batch["session_id"][0])
        self.scored.append(place)
        if place in self._failing:
            raise ValueError("the reward function raised")
        return {"reward_score": 1.0, "reward_extra_info": {"acc": 1.0}}


class UnsteadyQueue(InMemoryQueue):
    """Registers some rows and then fails, as where a storage unit is gone."""

    def __init__(self, failing: set[tuple[str, int]]) -> None:
        super().__init__()
        self._failing = {f"{uid}_{session}_0" for uid, session in failing}

    async def async_kv_batch_put(
        self, keys: list[str], partition_id: str, tags: list[dict[str, Any]], **_: Any
    ) -> None:
        await super().async_kv_batch_put(keys, partition_id, tags)
        if self._failing & set(keys):
            raise RuntimeError("a storage unit is gone")


def worker(rewards: Rewards) -> Any:
    """A worker that has grown a tree of three trajectories for every prompt."""
    made: Any = TreeAgentLoopWorker.__new__(TreeAgentLoopWorker)
    made.config = OmegaConf.create({"actor_rollout_ref": {"rollout": {"n": WIDTH}}})
    made.processor, made.mm_processor_kwargs, made.distillation_enabled = None, None, False
    made.reward_loop_worker_handles = [rewards]
    made._own_environment = False

    async def run_agent_loop(
        sampling_params: dict[str, Any], *, trajectory: dict[str, Any], trace: bool, agent_name: str, **kwargs: Any
    ) -> None:
        outputs = [
            AgentLoopOutput(
                prompt_ids=[1, 2],
                response_ids=[3] * (1 + place),
                response_mask=[1] * (1 + place),
                num_turns=2,
                metrics={},  # pyright: ignore[reportArgumentType]
                extra_fields={"min_global_steps": 1, "max_global_steps": 1},
            )
            for place in range(WIDTH)
        ]
        await made._agent_loop_postprocess(outputs, trajectory["validate"], **kwargs)

    made._run_agent_loop = run_agent_loop
    return made


async def post(made: Any, queue: InMemoryQueue, uid: str) -> None:
    """A prompt's way through the worker."""
    queue.kv_batch_put([uid], "train", [{"is_prompt": True, "status": "pending", "global_steps": 1}])
    prompt = {
        "agent_name": "single_turn_agent",
        "uid": uid,
        "raw_prompt": [{"role": "user", "content": "1 plus 1?"}],
        "index": 0,
        "global_steps": 1,
    }
    await made._run_prompt(prompt, {}, trajectory={"validate": False})


def rows(queue: InMemoryQueue, uid: str) -> list[str]:
    return [key for key in queue.tags["train"] if key.startswith(f"{uid}_")]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("step", ["scored", "written"])
async def test_a_failing_row_takes_its_whole_tree_along_and_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str, place: int
) -> None:
    failing = {("bad", place)}
    queue = UnsteadyQueue(failing if step == "written" else set()).install(monkeypatch)
    rewards = Rewards(failing if step == "scored" else set())
    made = worker(rewards)
    with caplog.at_level(logging.ERROR):
        for uid in ("good", "bad"):
            await post(made, queue, uid)
    # Every trajectory is scored by itself, and all of them before the group is given up.
    assert sorted(rewards.scored) == [(uid, session) for uid in ("bad", "good") for session in range(WIDTH)]
    assert {uid: queue.tags["train"][uid]["status"] for uid in ("good", "bad")} == {
        "good": "finished",
        "bad": "failure",
    }
    assert rows(queue, "bad") == []
    assert rows(queue, "good") == [f"good_{session}_0" for session in range(WIDTH)]
    # Where the errors that end a step send the reader.
    assert "Error in _run_prompt for uid=bad" in caplog.text
    assert ("the reward function raised" if step == "scored" else "a storage unit is gone") in caplog.text

    buffer = ReplayBuffer(
        trainer_mode="sync",
        trainer_config=OmegaConf.create(),
        max_off_policy_threshold=None,
        max_off_policy_strategy="drop",
        sampler_kwargs=OmegaConf.create(),
    )
    batch, _ = buffer.sample(global_steps=1, partition_id="train", batch_size=2)
    assert batch.keys == [f"good_{session}_0" for session in range(WIDTH)]
