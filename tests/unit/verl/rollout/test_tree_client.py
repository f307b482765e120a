"""A tree that no server takes waits, and says so once a minute."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from treepo.verl.rollout import tree_client
from treepo.verl.rollout.tree_job import GivenUp, GrownTree

TREE: Any = "tree"


class Server:
    """An actor that hands trees back until it is asked for the nth time."""

    def __init__(self, clock: "Clock", *, takes_at: float) -> None:
        self.clock, self.takes_at = clock, takes_at
        self.grow_tree = SimpleNamespace(remote=self._grow)

    async def _grow(self, job: Any) -> Any:
        if self.clock.now >= self.takes_at:
            return GrownTree(tree=TREE, discarded_tokens=3)
        return GivenUp(tokens=10)


class Client:
    """verl's client, which has one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.held = 0

    async def _acquire_server(self, tree_id: str, *, prompt_ids: list[int]) -> tuple[str, Server]:
        self.held += 1
        return "10.0.0.1:8000", self.server

    def _release_server(self, server_id: str, *, request_id: str) -> None:
        self.held -= 1


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(tree_client, "time", clock)
    monkeypatch.setattr(
        tree_client, "asyncio", SimpleNamespace(sleep=clock.sleep, CancelledError=asyncio.CancelledError)
    )
    monkeypatch.setattr(tree_client, "_reported", float("-inf"))
    return clock


def job(name: str) -> Any:
    return SimpleNamespace(tree_id=name, prompt_id=name, prompt_tokens=[1])


async def test_a_minute_without_a_server_is_a_line_however_many_trees_wait(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    # Two trees sleep in turn, so that a second of waiting passes twice as fast.
    client: Any = Client(Server(clock, takes_at=200))
    with caplog.at_level(logging.WARNING):
        grown = await asyncio.gather(*(tree_client.grow_on_server(client, job(f"prompt {i}")) for i in range(2)))
    assert [each.tree for each in grown] == [TREE, TREE]
    assert client.held == 0
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert "no rollout server has taken the tree for 60 s" in lines[0]
    assert "server 10.0.0.1:8000, asked last, has left the rotation" in lines[0]
    assert "The training continues once a server is back" in lines[0]


async def test_a_server_that_is_back_within_a_minute_is_no_line(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    client: Any = Client(Server(clock, takes_at=59))
    with caplog.at_level(logging.WARNING):
        grown = await tree_client.grow_on_server(client, job("prompt"))
    assert caplog.records == []
    # Handed back once a second.
    assert grown == GrownTree(tree=TREE, discarded_tokens=59 * 10 + 3)
