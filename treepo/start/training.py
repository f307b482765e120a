"""Refusals of what verl would meet late: another engine, another number of accelerators, too few rows.

Checked against verl 0.9.1; nothing here imports it. ``tests/seams/test_start_seams.py`` holds the places that are
read.
"""

from pathlib import Path

import pyarrow.parquet as pq
from omegaconf import DictConfig

from treepo.config import ConfigError
from treepo.start.checkpoints import resumed_step, saved_ranks

STRATEGIES = ("fsdp", "fsdp2")
"""Engines of verl that train: ``actor_rollout_ref.actor.strategy``."""


def check_engine(config: DictConfig) -> None:
    """Refuses engines other than FSDP.

    Trees need nothing of FSDP: what reaches the trainer are plain trajectories. But packing, the estimate of the memory
    and the data-parallel ranks are read from its options, checkpoints are merged by its names, and no other engine has
    been run.

    Args:
        config: The composed configuration; nothing that only one engine has may be read before.

    Raises:
        ConfigError: Another engine is chosen.
    """
    strategy = config.actor_rollout_ref.actor.strategy
    if config.model_engine != "dp" or strategy not in STRATEGIES:
        raise ConfigError(
            f"model_engine={config.model_engine} with actor_rollout_ref.actor.strategy={strategy} is refused: trees "
            "have been trained with verl's FSDP engines alone; set model_engine=dp and the strategy to fsdp or fsdp2"
        )


def check_start(config: DictConfig) -> None:
    """Refuses a training that verl would give up after the start, for its files.

    Args:
        config: The composed configuration, its numbers and its training files checked.

    Raises:
        ConfigError: There are certainly too few rows for a batch, or the checkpoint to go on from does not fit.
    """
    _check_rows(config)
    _check_resume(config)


def _check_rows(config: DictConfig) -> None:
    """A step needs a batch of different prompts: verl divides by the number of steps in an epoch."""
    data, trainer = config.data, config.trainer
    rows = training_rows(config)
    if rows is None or (trainer.val_only and trainer.val_before_train):
        return
    if rows < data.train_batch_size:
        source = "data.train_max_samples" if rows == data.train_max_samples else "data.train_files"
        raise ConfigError(
            f"data.train_batch_size={data.train_batch_size} is refused: {source} gives {rows} rows, and every prompt "
            "of a batch is another row; lower the batch size (and actor_rollout_ref.actor.ppo_mini_batch_size), or "
            "give more rows"
        )


def training_rows(config: DictConfig) -> int | None:
    """Rows to train on, at most: prompts that are too long are left out later. None where one's own class reads them.

    Args:
        config: The composed configuration, its training files checked.
    """
    data = config.data
    if data.custom_cls.path is not None:
        return None
    files = [data.train_files] if isinstance(data.train_files, str) else data.train_files
    rows = sum(pq.read_metadata(Path(file).expanduser()).num_rows for file in files)
    return min(rows, data.train_max_samples) if data.train_max_samples > 0 else rows


def _check_resume(config: DictConfig) -> None:
    """FSDP's checkpoints hold one file per rank and part, and go on with as many ranks only."""
    resumed = resumed_step(config)
    if resumed is None:
        return
    step = resumed.folder
    trainer = config.trainer
    ranks = trainer.nnodes * trainer.n_gpus_per_node
    for saved in saved_ranks(step, config.actor_rollout_ref.actor.checkpoint.load_contents):
        if ranks not in saved:
            raise ConfigError(
                f"trainer.nnodes={trainer.nnodes} x trainer.n_gpus_per_node={trainer.n_gpus_per_node} = {ranks} is "
                f"refused: the training would go on from {step}, which {_several(saved)} ranks wrote and as many must "
                "read; give it as many, or begin anew with trainer.resume_mode=disable or another run_dir (from its "
                "weights: docs/launcher.md, 'Another number of accelerators')"
            )


def _several(numbers: set[int]) -> str:
    return " or ".join(map(str, sorted(numbers)))
