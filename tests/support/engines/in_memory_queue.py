"""TransferQueue's interface over a dictionary, for tests of the trainer without Ray."""

from collections import defaultdict
from typing import Any

import pytest
import transfer_queue
from transfer_queue import KVBatchMeta


class InMemoryQueue:
    """What verl's trainer and replay buffer ask of ``transfer_queue``."""

    def __init__(self) -> None:
        self.tags: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        self.fields: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "InMemoryQueue":
        """Takes the place of the module's functions."""
        for name in [name for name in vars(InMemoryQueue) if "kv_" in name]:
            monkeypatch.setattr(transfer_queue, name, getattr(self, name))
        return self

    def kv_list(self, partition_id: str | None = None) -> dict[str, dict[str, dict[str, Any]]]:
        return {name: dict(tags) for name, tags in self.tags.items() if partition_id in (None, name)}

    def kv_clear(self, keys: list[str], partition_id: str) -> None:
        for key in keys:
            self.tags[partition_id].pop(key)
            self.fields[partition_id].pop(key, None)

    def kv_batch_put(self, keys: list[str], partition_id: str, tags: list[dict[str, Any]], **_: Any) -> KVBatchMeta:
        for key, tag in zip(keys, tags, strict=True):
            self.tags[partition_id].setdefault(key, {}).update(tag)
        return KVBatchMeta(keys=keys, tags=tags, partition_id=partition_id)

    def kv_batch_get(self, keys: list[str], partition_id: str, select_fields: list[str]) -> dict[str, list[Any]]:
        rows = [self.fields[partition_id][key] for key in keys]
        return {name: [row[name] for row in rows] for name in select_fields}

    async def async_kv_put(self, key: str, partition_id: str, tag: dict[str, Any]) -> None:
        self.kv_batch_put([key], partition_id, [tag])

    async def async_kv_batch_put(
        self, keys: list[str], partition_id: str, tags: list[dict[str, Any]], **_: Any
    ) -> None:
        self.kv_batch_put(keys, partition_id, tags)

    async def async_kv_clear(self, keys: list[str], partition_id: str) -> None:
        # The real one passes over keys that it does not know.
        self.kv_clear([key for key in keys if key in self.tags[partition_id]], partition_id)

    def finish(self, uid: str, accuracies: list[float], step: int) -> None:
        """Ends a prompt group with one trajectory per accuracy."""
        for session, accuracy in enumerate(accuracies):
            key = f"{uid}_{session}_0"
            self.tags["train"][key] = {"status": "success", "global_steps": step}
            self.fields["train"][key] = {"extra_fields": {"reward_extra_info": {"acc": accuracy}}}
        self.tags["train"][uid]["status"] = "finished"

    def fail(self, uid: str) -> None:
        """Ends a prompt group without a trajectory."""
        self.tags["train"][uid]["status"] = "failure"
