"""verl's trainers, where their hooks do not suffice for trees.

Checked against verl 0.9.1 (``verl/trainer/ppo/v1``); ``tests/seams/test_verl_seams.py`` holds the seams.
"""

import logging
from pathlib import Path
from typing import Any

import transfer_queue as tq
from omegaconf import DictConfig
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY, PPOTrainer
from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync
from verl.trainer.ppo.v1.trainer_separate_async import PPOTrainerSeparateAsync
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from treepo.advantage import ESTIMATORS, subgroup_share
from treepo.config.load import tree_options
from treepo.files.set_aside import set_aside
from treepo.verl.rollout.rows import TreeFields, tree_row
from treepo.verl.training.estimators import register_estimators, tree_rows
from treepo.verl.training.group_watch import GroupWatch
from treepo.verl.training.metric_names import Metric
from treepo.verl.training.metrics import sort_packing_metrics, tree_metrics
from treepo.verl.training.packing import uses_packed_engine
from treepo.verl.training.packing_order import packing_order
from treepo.verl.training.padding import spread_padding
from treepo.verl.training.tree_dump import dump_trees

logger = logging.getLogger(__name__)


class TreeHooks(PPOTrainer):
    """What trees need of any of verl's trainers; stands before one of them in a class's bases.

    Hands node paths to the estimators, adds the tree's metrics under ``treepo/``, shares padding rows, and trees that
    are packed, out among the mini-batches, and ends a step that would never get its batch.

    Attributes:
        knows_trees: Tells it from verl's own, which would take a tree's trajectories for independent samples.
    """

    knows_trees = True

    def __init__(self, config: DictConfig) -> None:
        # Before the base class, which builds the replay buffer.
        self._options = tree_options(config)
        self._validation_length: float | None = None
        self._saved: set[Path] = set()
        register_estimators()
        super().__init__(config)

    def _build_replay_buffer(self) -> ReplayBuffer:
        buffer = super()._build_replay_buffer()
        buffer.poll_interval = self._options.rollout.poll_interval
        # A sampler of the user's own that is none of verl's has rules of its own.
        if isinstance(buffer, ReplayBuffer):
            GroupWatch(self.config, step=lambda: self.global_steps).attach(buffer)
        return buffer

    def _validate(self) -> dict[str, float]:
        """Validates, and notes the mean length of the responses, which trajectories of trees are compared with."""
        lengths: list[int] = []
        buffer = self.replay_buffer
        sample, own = buffer.sample, "sample" in vars(buffer)

        def noted(*args: Any, **kwargs: Any) -> Any:
            batch, metrics = sample(*args, **kwargs)
            lengths.extend(tag["response_len"] for tag in batch.tags)
            return batch, metrics

        buffer.sample = noted
        try:
            metrics = super()._validate()
        finally:
            # Its class has the method; an attribute left in its place would tie the buffer to itself.
            if own:
                buffer.sample = sample
            else:
                del buffer.sample
        self._validation_length = sum(lengths) / len(lengths) if lengths else None
        if self._validation_length is not None:
            metrics[Metric.VALIDATION_LENGTH_MEAN] = self._validation_length
        return metrics

    def _validation_samples_alike(self) -> bool:
        """Whether validation draws tokens as the training does; verl's trainer reads no more of ``val_kwargs``."""
        rollout = self.config.actor_rollout_ref.rollout
        return all(rollout[name] == rollout.val_kwargs[name] for name in ("temperature", "top_p", "top_k"))

    def _balance_batch(self, batch: KVBatchMeta, metrics: dict, *args: Any, **kwargs: Any) -> KVBatchMeta:
        batch = super()._balance_batch(batch, metrics, *args, **kwargs)
        padding = [bool(tag.get("is_padding", False)) for tag in batch.tags]
        metrics[Metric.PADDING_SHARE] = sum(padding) / len(padding)
        mini_batch = self.config.actor_rollout_ref.actor.ppo_mini_batch_size * self.config.actor_rollout_ref.rollout.n
        ranks = max(self.actor_rollout_wg._dispatch_info["actor"]) + 1
        # During the critic's warm-up the actor is not updated, and a batch need not be whole mini-batches of it.
        mini_batches = 1 if len(padding) % mini_batch else len(padding) // mini_batch
        if uses_packed_engine(self.config):
            uids, fields = self._tree_fields(batch)
            order, metrics[Metric.RANK_IMBALANCE] = packing_order(
                uids,
                fields,
                prompt_lengths=[tag["prompt_len"] for tag in batch.tags],
                padding=padding,
                ranks=ranks,
                mini_batches=mini_batches,
            )
            batch.reorder(order)
        elif any(padding) and not len(padding) % mini_batch:
            batch.reorder(spread_padding(padding, ranks=ranks, mini_batches=mini_batches))
        return batch

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        batch = super()._update_actor(batch, metrics)
        sort_packing_metrics(metrics)
        return batch

    def _save_checkpoint(self) -> None:
        """Saves a checkpoint; one of the same step that an earlier start has written is kept under another name."""
        step = Path(self.config.trainer.default_local_dir) / f"global_step_{self.global_steps}"
        if step not in self._saved and step.exists():
            logger.warning("%s is of an earlier start; it is %s now", step, set_aside(step).name)
        self._saved.add(step)
        super()._save_checkpoint()

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        if self.config.algorithm.adv_estimator not in ESTIMATORS:
            return super()._compute_advantage(batch, metrics)
        uids, fields = self._tree_fields(batch)
        rows = [tree_row(uid, entry) for uid, entry in zip(uids, fields, strict=True)]
        with tree_rows(rows, self._options.advantage):
            return super()._compute_advantage(batch, metrics)

    def _compute_metrics(
        self, batch: KVBatchMeta, metrics: dict, timing_raw: dict, global_steps: int, epoch: int
    ) -> None:
        super()._compute_metrics(batch, metrics, timing_raw, global_steps=global_steps, epoch=epoch)
        every = self._options.dump_trees
        if every and global_steps % every == 0:
            path = Path(self.config.run_dir) / "trees" / f"step_{global_steps}.jsonl"
            dump_trees(batch, step=global_steps, path=path, tokenizer=self.tokenizer)
        uids, fields = self._tree_fields(batch)
        real = [not tag.get("is_padding", False) for tag in batch.tags]
        metrics.update(
            tree_metrics(
                [uid for uid, kept in zip(uids, real, strict=True) if kept],
                [entry for entry, kept in zip(fields, real, strict=True) if kept],
                options=self._options,
                # Servers that are lent to the rollout are waited for under another name.
                generation_seconds=timing_raw["gen"] + timing_raw.get("switch_wait", 0.0),
                validation_length=self._validation_length if self._validation_samples_alike() else None,
            )
        )
        if self.config.algorithm.adv_estimator in ESTIMATORS:
            metrics[Metric.SUBGROUP_SHARE] = self._subgroup_share(batch, uids, fields, real)
        grown = len({uid for uid, kept in zip(uids, real, strict=True) if kept})
        failed = self.config.data.train_batch_size - grown
        metrics[Metric.PROMPTS_FAILED] = failed
        if failed:
            # verl logs each failure where it happened, and trains on without the prompt.
            logger.warning("step %d: %d prompts have no tree; their errors are printed above", global_steps, failed)

    def _subgroup_share(self, batch: KVBatchMeta, uids: list[str], fields: list[TreeFields], real: list[bool]) -> float:
        assert batch.partition_id is not None, "a batch belongs to a partition"
        scores = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["rm_scores"])
        rewards = [float(score.sum()) for score in scores["rm_scores"]]
        kept = [place for place, is_real in enumerate(real) if is_real]
        return subgroup_share(
            [tree_row(uids[place], fields[place]) for place in kept], [rewards[place] for place in kept]
        )

    def _tree_fields(self, batch: KVBatchMeta) -> tuple[list[str], list[TreeFields]]:
        assert batch.partition_id is not None, "a batch belongs to a partition"
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["uid", "extra_fields"])
        uids = [_plain(value) for value in data["uid"]]
        return uids, [_plain(value)["treepo"] for value in data["extra_fields"]]


class TreeTrainer(TreeHooks, PPOTrainerSync):
    """Trees with verl's synchronous trainer."""


class TreeTrainerColocateAsync(TreeHooks, PPOTrainerColocateAsync):
    """Trees with the trainer that interrupts the rollout for an update, and continues it under the new weights."""


class TreeTrainerSeparateAsync(TreeHooks, PPOTrainerSeparateAsync):
    """Trees with the trainer whose servers have accelerators of their own."""

    def _setup(self) -> None:
        # Without servers on the trainer's accelerators verl 0.9.1 logs a line with an argument that logging refuses.
        speaks = logging.getLogger(PPOTrainerSeparateAsync.__module__)
        level = speaks.level
        speaks.setLevel(logging.WARNING)
        try:
            super()._setup()
        finally:
            speaks.setLevel(level)


def _plain(value: Any) -> Any:
    """TransferQueue hands non-tensor values back bare or wrapped, by the number of rows and the backend."""
    return getattr(value, "data", value)


TRAINERS: dict[str, type[PPOTrainer]] = {
    "sync": TreeTrainer,
    "colocate_async": TreeTrainerColocateAsync,
    "separate_async": TreeTrainerSeparateAsync,
}
"""The tree trainers by verl's name of the mode, ``trainer.v1.trainer_mode``."""


def use_tree_trainer() -> None:
    """Puts the tree trainers in the place of verl's.

    verl tests for the mode's name, ``trainer.v1.trainer_mode == "sync"``, in many places, so a trainer under a name of
    its own would be taken for an asynchronous one.
    """
    TRAINER_REGISTRY.update(TRAINERS)
