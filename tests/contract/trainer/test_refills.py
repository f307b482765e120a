"""Prompts that are sent off beside a step's batch: in the place of groups that failed or say nothing, and to warm up.

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
from tiny_stack import compose_tiny, mode_overrides, write_tiny_model
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopManagerTQ

from treepo.tree.randomness import RequestSeeds, prompt_stream
from treepo.verl.rollout.agent_loop import TreeAgentLoopManager
from treepo.verl.rollout.occurrences import prompt_name
from treepo.verl.training.trainer import TRAINERS

BATCH = 4
SAME, DIFFERENT = [1.0, 1.0], [1.0, 0.0]
FILTER = ["algorithm.filter_groups.enable=true", "algorithm.filter_groups.metric=acc"]
ERRORS = "their errors are printed above, after 'Error in _run_prompt'"
REMEDY = "once the cause is gone the same command resumes from the last checkpoint"


class Stage:
    """A trainer at its first step, over data of a few prompts.

    Args:
        model: A model folder.
        monkeypatch: Puts the stand-ins in place.
        prompts: Prompts of the data; they come around in order, one at a time.
        accuracies: Gives the accuracies of the n-th group that is sent off; None where it fails.
        mode: verl's name of the trainer.
        overrides: Options of the training.
    """

    def __init__(
        self,
        model: Path,
        monkeypatch: pytest.MonkeyPatch,
        *overrides: str,
        prompts: int = 64,
        accuracies: Callable[[int], list[float] | None] = lambda _: SAME,
        mode: str = "sync",
    ) -> None:
        self.queue = InMemoryQueue().install(monkeypatch)
        self.sent: list[str] = []
        self._accuracies = accuracies
        monkeypatch.setattr(AgentLoopManagerTQ, "__init__", lambda _: None)
        monkeypatch.setattr(AgentLoopManagerTQ, "generate_sequences", lambda _, batch: self._roll_out(batch))
        sizes = [f"{size}={BATCH}" for size in ("data.train_batch_size", "actor_rollout_ref.actor.ppo_mini_batch_size")]
        options = [*mode_overrides(mode), *sizes, "data.gen_batch_size=1", *overrides]
        self.trainer: Any = TRAINERS[mode](compose_tiny(model, options))
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
            accuracies = self._accuracies(len(self.sent))
            if accuracies is None:
                self.queue.fail(uid)
            else:
                self.queue.finish(uid, accuracies, batch["global_steps"])

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
    stage = Stage(model, monkeypatch, *FILTER, "algorithm.filter_groups.max_num_gen_batches=3")
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
    stage = Stage(
        model, monkeypatch, *FILTER, bound, accuracies=lambda sent: SAME if sent % 12 in range(1, 9) else DIFFERENT
    )
    for step in (1, 2):
        assert len({key.split("_")[0] for key in stage.step().keys}) == BATCH
        assert len(stage.sent) == 12 * step


def test_without_a_bound_a_step_continues_until_enough_groups_differ(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = "algorithm.filter_groups.max_num_gen_batches=0"
    stage = Stage(model, monkeypatch, *FILTER, bound, accuracies=lambda sent: SAME if sent <= 40 else DIFFERENT)
    assert len({key.split("_")[0] for key in stage.step().keys}) == BATCH
    assert len(stage.sent) > 40


def test_a_prompt_that_comes_again_in_a_step_gets_a_tree_of_its_own(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = "algorithm.filter_groups.max_num_gen_batches=0"

    def run() -> list[str]:
        # Three prompts for groups of four: every one comes again, at the latest when dynamic sampling asks for more.
        stage = Stage(
            model,
            monkeypatch,
            *FILTER,
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
    stage = Stage(model, monkeypatch, *FILTER, prompts=3, accuracies=lambda _: DIFFERENT)
    stage.step()
    assert [name.partition(" again ")[2] for name in stage.sent] == ["", "", "", "1"]
    assert stage.sent[3].startswith(stage.sent[0])


# Where verl replaces a failed group: always in the asynchronous mode, on request in the other.
REPLACING = [("colocate_async", ()), ("sync", ("trainer.v1.sampler.sync_refill_failed_groups=true",))]


@pytest.mark.parametrize(("mode", "overrides"), REPLACING)
def test_a_step_whose_every_tree_fails_ends_with_an_error_that_says_so(
    model: Path, monkeypatch: pytest.MonkeyPatch, mode: str, overrides: tuple[str, ...]
) -> None:
    stage = Stage(model, monkeypatch, *overrides, mode=mode, accuracies=lambda _: None)
    with pytest.raises(RuntimeError) as ended:
        stage.step()
    assert str(ended.value) == f"step 1: 8 trees failed, more than the step's 4 prompts; {ERRORS}; {REMEDY}"
    assert len(stage.sent) == 2 * BATCH


@pytest.mark.parametrize(("mode", "overrides"), REPLACING)
def test_as_many_failed_trees_as_a_step_has_prompts_are_replaced_in_every_step(
    model: Path, monkeypatch: pytest.MonkeyPatch, mode: str, overrides: tuple[str, ...]
) -> None:
    half = 2 * BATCH
    stage = Stage(
        model,
        monkeypatch,
        *overrides,
        mode=mode,
        accuracies=lambda sent: None if (sent - 1) % half < BATCH else SAME,
    )
    for step in (1, 2, 3):
        assert len({key.split("_")[0] for key in stage.step().keys}) == BATCH
        assert len(stage.sent) == half * step


def test_where_the_filter_ends_a_step_the_error_counts_the_failed_trees_too(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(
        model,
        monkeypatch,
        *FILTER,
        "algorithm.filter_groups.max_num_gen_batches=3",
        "trainer.v1.sampler.sync_refill_failed_groups=true",
        accuracies=lambda sent: None if sent <= 2 else SAME,
    )
    with pytest.raises(RuntimeError, match=r"12 prompts were not enough for 4 .*, and 2 trees failed \(their errors"):
        stage.step()


def test_batches_to_warm_up_are_none_of_the_first_steps_refills(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(
        model,
        monkeypatch,
        *FILTER,
        "algorithm.filter_groups.max_num_gen_batches=2",
        "trainer.v1.colocate_async.num_warmup_batches=3",
        mode="colocate_async",
        # One batch says nothing, and is replaced by the one that the step may ask for.
        accuracies=lambda sent: SAME if sent <= BATCH else DIFFERENT,
    )
    stage.trainer.on_train_begin()
    assert len(stage.sent) == 3 * BATCH
    assert len({key.split("_")[0] for key in stage.step().keys}) == BATCH
    assert len(stage.sent) == 5 * BATCH


def test_a_step_without_a_tree_ends_with_one_line_where_failed_ones_are_not_replaced(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(model, monkeypatch, accuracies=lambda _: None)
    stage.trainer.global_steps = 7
    with pytest.raises(RuntimeError) as ended:
        stage.step()
    assert str(ended.value) == f"step 7: no prompt has a tree; {ERRORS}; {REMEDY}"


def test_a_step_with_one_tree_is_trained_on(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(model, monkeypatch, accuracies=lambda sent: SAME if sent == 2 else None)
    assert len(stage.step().keys) == len(SAME)
    assert len(stage.sent) == BATCH


@pytest.mark.parametrize("mode", list(TRAINERS))
def test_a_validation_without_a_response_ends_with_one_line(
    model: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    stage = Stage(model, monkeypatch, mode=mode)
    failed = {"is_prompt": True, "status": "failure", "global_steps": 0}
    stage.queue.kv_batch_put(["a", "b"], "val", [dict(failed), dict(failed)])
    stage.trainer.global_steps = 0
    with pytest.raises(
        RuntimeError, match=r"^validation at step 0: no prompt has a response; their errors are printed above"
    ):
        stage.trainer.replay_buffer.sample(global_steps=0, partition_id="val", batch_size=2)
