"""A step in which no prompt has a tree ends the training in one line, whatever verl would make of an empty batch."""

import pytest
from transfer_queue import KVBatchMeta

from treepo.verl.trainer import TreeTrainer


def test_an_empty_batch_is_an_error_that_names_the_step_and_the_remedy() -> None:
    trainer = TreeTrainer.__new__(TreeTrainer)
    trainer.global_steps = 7
    with pytest.raises(RuntimeError, match=r"step 7: no prompt has a tree.*goes on from the last checkpoint") as error:
        trainer._balance_batch(KVBatchMeta(partition_id="train", keys=[], tags=[]), {})
    assert "\n" not in str(error.value)
