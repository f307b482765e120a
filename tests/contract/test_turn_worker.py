"""A prompt's way through verl's worker to its rows, with an environment and with tools, in training and validation.

verl's worker, its agent loops and its tools are the real ones; what stands in is the queue, the reward worker and the
server.
"""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from in_memory_queue import InMemoryQueue
from omegaconf import OmegaConf
from tiny_stack import compose_tiny, write_tiny_model
from turn_scenes import Adder, World
from verl.utils.dataset import RLHFDataset
from verl_talks import TOKENIZER, ScriptedClient, call, row, tools

from treepo.verl.rollout.agent_loop import TreeAgentLoopWorker

WIDTH, SAMPLES = 4, 2


class Rewards:
    """verl's reward worker, which notes what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.compute_score = SimpleNamespace(remote=self._score)

    async def _score(self, data: Any) -> dict[str, Any]:
        self.told.append(dict(data.non_tensor_batch["extra_info"][0]))
        return {"reward_score": 1.0, "reward_extra_info": {"acc": 1.0}}


class Rows(InMemoryQueue):
    """The queue, which keeps the rows' fields."""

    async def async_kv_batch_put(
        self, keys: list[str], partition_id: str, tags: list[dict[str, Any]], **given: Any
    ) -> None:
        await super().async_kv_batch_put(keys, partition_id, tags)
        (key,) = keys
        fields = given["fields"]
        self.fields[partition_id][key] = {name: fields[name][0] for name in fields.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Any:
    model: Path = write_tiny_model(tmp_path_factory.mktemp("worker") / "model")
    limits = ["treepo.segment_length=100", "treepo.max_depth=3", "treepo.initial_divergence=[1,1]"]
    return compose_tiny(
        model,
        [
            *limits,
            f"treepo.width={WIDTH}",
            "data.max_response_length=300",
            "treepo.termination.repetition.enabled=false",
            f"actor_rollout_ref.rollout.val_kwargs.n={SAMPLES}",
        ],
    )


def worker(base: Any, rewards: Rewards, *overrides: str, script: Any, names: tuple[str, ...] = ()) -> Any:
    made: Any = TreeAgentLoopWorker.__new__(TreeAgentLoopWorker)
    made.config = OmegaConf.merge(base, OmegaConf.from_dotlist(list(overrides)))
    made._own_environment = made.config.treepo.environment.name is not None
    made.rollout_config = made.config.actor_rollout_ref.rollout
    made.llm_client, made.tokenizer, made.hf_model_type = ScriptedClient(script), TOKENIZER, "qwen2"
    made.processor, made.mm_processor_kwargs, made.distillation_enabled = None, None, False
    made.dataset_cls, made.tools = RLHFDataset, tools(*names)
    made.reward_loop_worker_handles = [rewards]
    return made


def run(made: Any, queue: InMemoryQueue, *, validate: bool, agent: str) -> list[dict[str, Any]]:
    """The rows of a prompt, in the order of their sessions."""
    partition = "val" if validate else "train"
    queue.kv_batch_put(["u"], partition, [{"status": "pending", "global_steps": 1}])
    prompt = row(agent_name=agent, extra_info={"index": 7})
    del prompt["session_id"]
    sampling = {"temperature": 1.0, "logprobs": True}
    asyncio.run(made._run_prompt(prompt, sampling, trajectory={"validate": validate, **TRAJECTORY}))
    assert queue.tags[partition]["u"]["status"] == "finished"
    rows = {key: fields for key, fields in queue.fields[partition].items() if key != "u"}
    assert sorted(rows) == [f"u_{session}_0" for session in range(SAMPLES if validate else WIDTH)]
    return [rows[key] for key in sorted(rows)]


TRAJECTORY = {"step": 1, "sample_index": 0, "rollout_n": 0}


def plain(value: Any) -> Any:
    return getattr(value, "data", value) if not hasattr(value, "tolist") else value.tolist()


@pytest.mark.parametrize("validate", [False, True])
def test_an_environment_answers_in_training_and_in_validation(
    base: Any, validate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    monkeypatch.setattr(Adder, "world", world)
    rewards, queue = Rewards(), Rows().install(monkeypatch)
    made = worker(
        base,
        rewards,
        "treepo.environment.name=turn_scenes:Adder",
        script=lambda last, number: "abcdefghijklmnop"[number % 16],
    )
    for fields in run(made, queue, validate=validate, agent="single_turn_agent"):
        mask, tokens = plain(fields["response_mask"]), plain(fields["responses"])
        assert 0 < mask.count(0) < len(mask) == len(tokens)
        assert plain(fields["loss_mask"]) == mask
        zeros = [log for log, flag in zip(plain(fields["rollout_log_probs"]), mask, strict=True) if not flag]
        assert set(zeros) == {0.0}
        # The dataset's own fields are written as they came.
        assert plain(fields["extra_info"]) == {"index": 7}
    assert {told["turns"] for told in rewards.told} == {3}
    assert {tuple(told["turn_rewards"]) for told in rewards.told} == {(1.0, 2.0, None)}
    assert all(len(told["final_turn"]) == 1 for told in rewards.told)
    assert world.live == 0


@pytest.mark.parametrize("validate", [False, True])
def test_tools_answer_in_training_and_in_validation(base: Any, validate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(last: str, number: int) -> str:
        return r"So \boxed{8}" if last.startswith("tool") else call("add", left=7, right=5)

    rewards, queue = Rewards(), Rows().install(monkeypatch)
    made = worker(base, rewards, script=script, names=("add",))
    for fields in run(made, queue, validate=validate, agent="tool_agent"):
        text = TOKENIZER.decode(plain(fields["responses"]))
        assert "<|im_start|>tool\n12<|im_end|>" in text
        assert ("treepo" in plain(fields["extra_fields"])) is not validate
    # A number that the tool printed is in the response, and not in the last turn.
    assert {told["final_turn"] for told in rewards.told} == {r"So \boxed{8}"}
    assert {told["turns"] for told in rewards.told} == {2}


def test_without_turns_a_reward_function_is_told_what_it_was(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rewards, queue = Rewards(), Rows().install(monkeypatch)
    made = worker(base, rewards, "treepo.rollout.backend=portable", script=lambda last, number: f"Done {number}.")
    for fields in run(made, queue, validate=False, agent="single_turn_agent"):
        assert set(plain(fields["response_mask"])) == {1}
        assert plain(fields["extra_fields"])["treepo"]["turn_stats"] is None
    assert rewards.told == [{"index": 7}] * WIDTH
