"""Prompts that dynamic sampling sends off on top of a step's batch.

The trainer, its replay buffer and the manager's way of sending prompts off are the real ones; what stands in is the
queue and the rollout, which finishes every group at once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_memory_queue import InMemoryQueue
from tensordict import TensorDict
from tiny_stack import compose_tiny, write_tiny_model
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ

from treepo.tree.randomness import RequestSeeds, prompt_stream
from treepo.verl.agent_loop import TreeAgentLoopManager, prompt_name
from treepo.verl.trainer import TreeTrainer

BATCH = 4
SAME, DIFFERENT = [1.0, 1.0], [1.0, 0.0]


class Stage:
    """A trainer at its first step, over data of a few prompts.

    Args:
        model: A model folder.
        monkeypatch: Puts the stand-ins in place.
        prompts: Prompts of the data; they come around in order, one at a time.
        accuracies: Gives the accuracies of the n-th group that is sent off.
        overrides: Options of the training.
    """

    def __init__(
        self,
        model: Path,
        monkeypatch: pytest.MonkeyPatch,
        *overrides: str,
        prompts: int = 64,
        accuracies: Callable[[int], list[float]] = lambda _: SAME,
    ) -> None:
        self.queue = InMemoryQueue().install(monkeypatch)
        self.sent: list[str] = []
        self._accuracies = accuracies
        monkeypatch.setattr(AgentLoopManagerTQ, "__init__", lambda _: None)
        monkeypatch.setattr(AgentLoopManagerTQ, "generate_sequences", lambda _, batch: self._roll_out(batch))
        filter_groups = ["algorithm.filter_groups.enable=true", "algorithm.filter_groups.metric=acc"]
        sizes = [f"data.train_batch_size={BATCH}", "data.gen_batch_size=1"]
        # An MRO that pyright reads as leaving methods of the base class abstract.
        trainer: Any = TreeTrainer
        self.trainer: Any = trainer(compose_tiny(model, [*filter_groups, *sizes, *overrides]))
        self.trainer.train_dataloader_it = None
        self.trainer.train_dataloader = [
            {
                "raw_prompt": one([{"role": "user", "content": f"What is {number} plus 1?"}]),
                "index": one(0),
            }
            for number in range(prompts)
        ]
        self.trainer.agent_loop_manager = TreeAgentLoopManager()
        self.trainer.global_steps = 1

    def _roll_out(self, batch: TensorDict) -> None:
        columns: list[Any] = [batch[name] for name in ("uid", "raw_prompt", "index", "treepo_occurrence")]
        rows = zip(*columns, strict=True)
        for uid, messages, index, occurrence in rows:
            tokens = list(messages[0]["content"].encode())
            self.sent.append(prompt_name(batch["global_steps"], index, tokens, occurrence=occurrence))
            self.queue.finish(uid, self._accuracies(len(self.sent)), batch["global_steps"])

    def step(self) -> Any:
        """Sends a step's batch off and takes the groups that it trains on."""
        self.trainer.prepare_step()
        batch, _ = self.trainer.replay_buffer.sample(
            global_steps=self.trainer.global_steps, partition_id="train", batch_size=BATCH
        )
        self.queue.kv_clear(batch.keys, "train")
        self.trainer.global_steps += 1
        return batch


def one(value: Any) -> np.ndarray:
    """A column of one row, as verl's data loader gives it."""
    column = np.empty(1, dtype=object)
    column[0] = value
    return column


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("refills") / "model")


def test_a_step_whose_every_group_is_filtered_ends_with_an_error_at_the_bound(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(model, monkeypatch, "algorithm.filter_groups.max_num_gen_batches=3")
    with pytest.raises(RuntimeError) as refused:
        stage.step()
    line = str(refused.value)
    assert line.startswith("step 1: 12 prompts were not enough for 4 whose trajectories differ in ")
    assert "algorithm.filter_groups.metric=acc" in line
    assert line.endswith("or raise algorithm.filter_groups.max_num_gen_batches=3")
    assert "\n" not in line
    assert len(stage.sent) == 3 * BATCH


def test_prompts_up_to_the_bound_are_sent_off_in_every_step(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = "algorithm.filter_groups.max_num_gen_batches=3"
    stage = Stage(model, monkeypatch, bound, accuracies=lambda sent: SAME if sent % 12 in range(1, 9) else DIFFERENT)
    for step in (1, 2):
        assert len({key.split("_")[0] for key in stage.step().keys}) == BATCH
        assert len(stage.sent) == 12 * step


def test_without_a_bound_a_step_goes_on_until_enough_groups_differ(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = "algorithm.filter_groups.max_num_gen_batches=0"
    stage = Stage(model, monkeypatch, bound, accuracies=lambda sent: SAME if sent <= 90 else DIFFERENT)
    assert len({key.split("_")[0] for key in stage.step().keys}) == BATCH
    assert len(stage.sent) > 90


def test_a_prompt_that_comes_again_in_a_step_gets_a_tree_of_its_own(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = "algorithm.filter_groups.max_num_gen_batches=0"

    def run() -> list[str]:
        # Three prompts for groups of four: every one comes again, at the latest when dynamic sampling asks for more.
        stage = Stage(
            model,
            monkeypatch,
            bound,
            prompts=3,
            accuracies=lambda sent: SAME if sent % 12 in range(1, 9) else DIFFERENT,
        )
        stage.step()
        stage.step()
        return stage.sent

    names = run()
    assert len(names) == len(set(names)) == 24
    assert run() == names, "another run names its trees alike"
    streams = {prompt_stream(0, name).random() for name in names}
    seeds = {RequestSeeds(0, name)(request) for name in names for request in range(16)}
    assert (len(streams), len(seeds)) == (24, 24 * 16)


def test_the_first_tree_of_a_prompt_in_a_step_has_the_name_it_has_without_a_second(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(model, monkeypatch, prompts=3, accuracies=lambda _: DIFFERENT)
    stage.step()
    assert [name.partition(" again ")[2] for name in stage.sent] == ["", "", "", "1"]
    assert stage.sent[3].startswith(stage.sent[0])
