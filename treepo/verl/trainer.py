"""verl's synchronous trainer, where its hooks do not suffice for trees.

Checked against verl 0.9.1 (``verl/trainer/ppo/v1``); ``tests/contract/test_verl_seams.py`` holds the seams.
"""

import logging
from typing import Any

import transfer_queue as tq
from omegaconf import DictConfig
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from treepo.advantage import ESTIMATORS
from treepo.compose import tree_options
from treepo.verl.estimators import register_estimators, tree_rows
from treepo.verl.metrics import tree_metrics
from treepo.verl.rows import TreeFields, tree_row

logger = logging.getLogger(__name__)


class TreeTrainer(PPOTrainerSync):
    """Hands node paths to the estimators and adds the tree's metrics under ``treepo/``."""

    def __init__(self, config: DictConfig) -> None:
        # Before the base class, which builds the replay buffer.
        self._options = tree_options(config)
        register_estimators()
        super().__init__(config)

    def _build_replay_buffer(self) -> ReplayBuffer:
        buffer = super()._build_replay_buffer()
        buffer.poll_interval = self._options.rollout.poll_interval
        return buffer

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
        uids, fields = self._tree_fields(batch)
        real = [not tag.get("is_padding", False) for tag in batch.tags]
        metrics.update(
            tree_metrics(
                [uid for uid, kept in zip(uids, real, strict=True) if kept],
                [entry for entry, kept in zip(fields, real, strict=True) if kept],
            )
        )
        grown = len({uid for uid, kept in zip(uids, real, strict=True) if kept})
        failed = self.config.data.train_batch_size - grown
        metrics["treepo/prompts_failed"] = failed
        if failed:
            # verl logs each failure where it happened, and trains on without the prompt.
            logger.warning("step %d: %d prompts have no tree; their errors stand above", global_steps, failed)

    def _tree_fields(self, batch: KVBatchMeta) -> tuple[list[str], list[TreeFields]]:
        assert batch.partition_id is not None, "a batch belongs to a partition"
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["uid", "extra_fields"])
        uids = [_plain(value) for value in data["uid"]]
        return uids, [_plain(value)["treepo"] for value in data["extra_fields"]]


def _plain(value: Any) -> Any:
    """TransferQueue hands non-tensor values back bare or wrapped, by the number of rows and the backend."""
    return getattr(value, "data", value)


def use_tree_trainer() -> None:
    """Puts the tree trainer in the place of verl's synchronous one.

    verl tests for the mode's name, ``trainer.v1.trainer_mode == "sync"``, in many places, so a trainer under a name of
    its own would be taken for an asynchronous one.
    """
    TRAINER_REGISTRY["sync"] = TreeTrainer
