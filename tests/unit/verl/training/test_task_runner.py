"""A training refuses a Ray cluster in which another one trains."""

import inspect
from typing import Any

import pytest
import ray
import transfer_queue.interface

from treepo.verl.training.task_runner import TreeTaskRunner, refuse_shared_cluster


def test_a_cluster_without_a_training_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise ValueError("Failed to look up actor")

    monkeypatch.setattr(ray, "get_actor", none)
    refuse_shared_cluster()


def test_a_second_training_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(ray, "get_actor", lambda *name, **where: asked.append((name, where)))
    with pytest.raises(RuntimeError, match=r"another training runs in this Ray cluster.*address=local") as refused:
        refuse_shared_cluster()
    assert "\n" not in str(refused.value)
    assert asked == [(("TransferQueueController",), {"namespace": "transfer_queue"})]
    assert inspect.getsource(TreeTaskRunner.run).index("refuse_shared_cluster()") < inspect.getsource(
        TreeTaskRunner.run
    ).index("super().run(config)")


def test_transfer_queue_still_has_one_table_per_cluster_under_this_name() -> None:
    text = inspect.getsource(transfer_queue.interface)
    assert 'ray.get_actor("TransferQueueController", namespace="transfer_queue")' in text
    assert 'name="TransferQueueController", namespace="transfer_queue"' in text
