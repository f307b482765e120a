"""What trees are compared with: the length of validation's independent samples, where they are drawn alike."""

from pathlib import Path
from typing import Any

import pytest
from in_memory_queue import InMemoryQueue
from tiny_stack import compose_tiny, mode_overrides, write_tiny_model
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

from treepo.verl.training.trainer import TRAINERS

SAMPLING = "actor_rollout_ref.rollout"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("validation") / "model")


def trainer(model: Path, *overrides: str, mode: str = "sync") -> Any:
    return TRAINERS[mode](compose_tiny(model, [*mode_overrides(mode), *overrides]))


@pytest.mark.parametrize("mode", list(TRAINERS))
def test_the_mean_length_of_all_batches_is_noted_and_the_buffer_left_as_it_was(
    model: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    queue = InMemoryQueue().install(monkeypatch)
    made = trainer(model, mode=mode)
    made.global_steps = 0

    def validate(self: Any) -> dict[str, float]:
        for uid, lengths in {"a": [10, 20], "b": [60]}.items():
            queue.kv_batch_put([uid], "val", [{"is_prompt": True, "status": "finished", "global_steps": 0}])
            rows = [f"{uid}_{session}_0" for session in range(len(lengths))]
            queue.kv_batch_put(rows, "val", [{"status": "success", "response_len": length} for length in lengths])
            batch, _ = self.replay_buffer.sample(global_steps=0, partition_id="val", batch_size=1)
            queue.kv_clear(batch.keys, "val")
        return {"val-core/acc": 0.5}

    monkeypatch.setattr(PPOTrainer, "_validate", validate)
    before = set(vars(made.replay_buffer))
    assert made._validate() == {"val-core/acc": 0.5, "treepo/validation/response_length/mean": 30.0}
    assert set(vars(made.replay_buffer)) == before
    assert "sample" not in before


def test_a_validation_that_fails_leaves_the_buffer_as_it_was(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(model)
    before = dict(vars(made.replay_buffer))

    def validate(self: Any) -> dict[str, float]:
        raise RuntimeError("no server")

    monkeypatch.setattr(PPOTrainer, "_validate", validate)
    with pytest.raises(RuntimeError, match="no server"):
        made._validate()
    assert dict(vars(made.replay_buffer)) == before


def test_a_sample_that_is_the_buffers_own_is_put_back(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(model)

    def own(**_: Any) -> Any:
        raise AssertionError("not asked")

    made.replay_buffer.sample = own
    monkeypatch.setattr(PPOTrainer, "_validate", lambda self: {})
    assert made._validate() == {}
    assert vars(made.replay_buffer)["sample"] is own


@pytest.mark.parametrize(
    ("overrides", "alike"),
    [
        ([], True),
        ([f"{SAMPLING}.val_kwargs.temperature=0"], False),
        ([f"{SAMPLING}.val_kwargs.top_p=0.9"], False),
        ([f"{SAMPLING}.top_k=20"], False),
        ([f"{SAMPLING}.top_k=20", f"{SAMPLING}.val_kwargs.top_k=20"], True),
        # Which verl's trainer does not read.
        ([f"{SAMPLING}.val_kwargs.do_sample=false"], True),
    ],
)
def test_lengths_are_compared_only_where_validation_samples_as_the_training_does(
    model: Path, overrides: list[str], alike: bool
) -> None:
    assert trainer(model, *overrides)._validation_samples_alike() is alike
