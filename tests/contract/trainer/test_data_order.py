"""A training that resumes from a checkpoint takes the data's prompts in the order of one that was not stopped.

The data set, the loader and the trainer's way to its prompts are verl's own; nothing is generated or trained.
"""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from in_memory_queue import InMemoryQueue
from tiny_stack import compose_tiny, write_tiny_model
from training_run import write_sums
from transformers import AutoTokenizer

from treepo.verl.training.trainer import TRAINERS

PROMPTS, BATCH, STEPS = 9, 3, 7
STEPS_PER_EPOCH = PROMPTS // BATCH

Order = list[tuple[int, str]]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Makes a trainer that has its data and nothing else."""
    folder = tmp_path_factory.mktemp("order")
    model = write_tiny_model(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(model)
    data = [
        f"data.train_files=[{write_sums(folder / 'train.parquet', PROMPTS, seed=2)}]",
        f"data.val_files=[{write_sums(folder / 'held_out.parquet', 1, seed=1)}]",
        f"data.train_batch_size={BATCH}",
    ]

    def made(*overrides: str) -> Any:
        trainer: Any = TRAINERS["sync"](compose_tiny(model, [*data, *overrides]))
        trainer.tokenizer, trainer.processor = tokenizer, None
        trainer._init_dataloader()
        return trainer

    return made


def train(trainer: Any, steps: range, note: Callable[[int], None] = lambda _: None) -> Order:
    """Takes the prompts of some steps, in their order."""
    order: Order = []
    for trainer.global_steps in steps:
        batch = trainer._next_train_batch()
        order += [(trainer.global_steps, messages[0]["content"]) for messages in batch["raw_prompt"]]
        note(trainer.global_steps)
    return order


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.nightly)])
# Under dynamic sampling and with colocate_async verl takes prompts one by one.
@pytest.mark.parametrize("at_a_time", [BATCH, 1])
def test_a_resumed_run_takes_the_prompts_of_one_that_was_not_stopped_also_at_an_epochs_end(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, workers: int, at_a_time: int
) -> None:
    InMemoryQueue().install(monkeypatch)
    options = [f"data.dataloader_num_workers={workers}", f"data.gen_batch_size={at_a_time}"]
    checkpoints: dict[int, bytes] = {}
    trainer = build(*options)

    def save(step: int) -> None:
        file = io.BytesIO()
        torch.save(trainer.train_dataloader.state_dict(), file)
        checkpoints[step] = file.getvalue()

    whole = train(trainer, range(1, STEPS + 1), save)
    epochs = [
        {text for step, text in whole if (step - 1) // STEPS_PER_EPOCH == epoch}
        for epoch in range(STEPS // STEPS_PER_EPOCH)
    ]
    assert [len(epoch) for epoch in epochs] == [PROMPTS] * 2
    assert [text for step, text in whole if step <= STEPS_PER_EPOCH] != [
        text for step, text in whole if STEPS_PER_EPOCH < step <= 2 * STEPS_PER_EPOCH
    ], "every epoch has an order of its own"

    # Before, at and after the end of the first epoch, and at the end of the second.
    for stopped in (STEPS_PER_EPOCH - 1, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 1, 2 * STEPS_PER_EPOCH):
        resumed = build(*options)
        resumed.train_dataloader.load_state_dict(torch.load(io.BytesIO(checkpoints[stopped]), weights_only=False))
        after = train(resumed, range(stopped + 1, STEPS + 1))
        assert [entry for entry in whole if entry[0] <= stopped] + after == whole, f"stopped after step {stopped}"
