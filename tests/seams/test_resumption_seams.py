"""What going on, and the warnings before the start, hold on to in verl. Checked against verl 0.9.1."""

import inspect

from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils.checkpoint.fsdp_checkpoint_manager import FSDPCheckpointManager

source = inspect.getsource


def test_the_last_step_is_saved_and_tested_whatever_the_frequencies_are() -> None:
    text = " ".join(source(PPOTrainer.fit).split())
    for frequency in ("save_freq", "test_freq"):
        assert (
            f"if self.config.trainer.{frequency} > 0 and ( is_last_step or self.global_steps % "
            f"self.config.trainer.{frequency} == 0 )"
        ) in text


def test_the_last_step_is_that_of_the_option_else_of_the_epochs_and_the_epochs_end_the_loop() -> None:
    text = source(PPOTrainer._init_dataloader)
    whole = text.index("total_training_steps = self.steps_per_epoch * self.config.trainer.total_epochs")
    assert whole < text.index("total_training_steps = self.config.trainer.total_training_steps")
    loop = "while current_epoch < self.config.trainer.total_epochs and self.global_steps <= self.total_training_steps:"
    assert loop in source(PPOTrainer.fit)
    assert "current_epoch = (self.global_steps - 1) // self.steps_per_epoch" in source(PPOTrainer.fit)
    assert "is_last_step = self.global_steps >= self.total_training_steps" in source(PPOTrainer.fit)


def test_learning_rate_and_weight_decay_come_from_the_checkpoint() -> None:
    text = source(FSDPCheckpointManager.load_checkpoint)
    assert "self.optimizer.load_state_dict(optimizer_state_dict)" in text
    assert "self.lr_scheduler.load_state_dict(lr_scheduler_state_dict)" in text


def test_a_step_is_named_by_the_end_of_its_path() -> None:
    assert 'int(global_step_folder.split("global_step_")[-1])' in source(PPOTrainer._load_checkpoint)
