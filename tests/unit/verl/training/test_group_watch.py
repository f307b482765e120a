"""What is in flight is not held against a step: it may yet fill the batch."""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from treepo.verl.training.group_watch import GroupWatch

BATCH = 4


def test_the_bound_on_dynamic_sampling_counts_groups_that_have_been_judged() -> None:
    sent: list[int] = []
    buffer: Any = SimpleNamespace(
        refill_fn=sent.append,
        _evict_terminal_groups=None,
        _select_prompt_uids=None,
        pending_keys=defaultdict(set),
        running_keys=defaultdict(set),
    )
    filtering = {"enable": True, "metric": "acc", "max_num_gen_batches": 3}
    config = OmegaConf.create({"algorithm": {"filter_groups": filtering}, "data": {"train_batch_size": BATCH}})
    watch = GroupWatch(config, step=lambda: 1)
    watch.attach(buffer)

    buffer.running_keys["train"] = set("ab")
    buffer.refill_fn(8)
    # 12 are sent off, 2 of them not begun and 6 not done.
    buffer.pending_keys["train"], buffer.running_keys["train"] = set("cd"), set("efghij")
    buffer.refill_fn(4)
    # 16 are sent off, 5 not done.
    buffer.pending_keys["train"], buffer.running_keys["train"] = set(), set("ghijk")
    buffer.refill_fn(1)
    assert sent == [8, 4, 1]
    # 17 are sent off, 5 not done: three batches have been judged, and were not enough.
    buffer.running_keys["val"] = set("z")
    with pytest.raises(RuntimeError, match=r"step 1: 12 prompts were not enough for 4"):
        buffer.refill_fn(1)
    assert sent == [8, 4, 1]
