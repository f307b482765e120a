"""A node of the launcher in a loop, without Ray and without a job, and the other sides of its connections."""

import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from treepo.launch.cluster import Cluster
from treepo.launch.nodes.head import Head
from treepo.launch.nodes.job import Job, Launch, Limits
from treepo.launch.nodes.loop import Loop
from treepo.launch.nodes.ray_node import Resources
from treepo.launch.nodes.run_folder import RunFolder
from treepo.launch.nodes.wire import Beats, Message, Wire
from treepo.launch.nodes.worker import Worker

LOST = 3.0
"""Seconds of silence after which a node counts as lost."""


class EndedChild:
    """A child that did what it should, at once."""

    status: int | None = 0
    ended = True

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def end(self, *, seconds: float) -> None:
        pass


class StubRay:
    """A Ray node that is there, and runs."""

    started: list[dict[str, Any]]

    def __init__(self, _: Resources, **options: Any) -> None:
        self.started.append(options)
        self.cluster_address = "127.0.0.2:1"
        self.child = EndedChild()
        self.child.status = None

    def stop(self, *, seconds: float, keep_logs: bool) -> None:
        pass


class Peer:
    """The other side of a connection, heard by a thread of its own."""

    def __init__(self, connection: socket.socket, secret: str) -> None:
        self.wire = Wire(connection, secret=secret)
        self.heard: list[Message] = []
        self.longest_silence = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        poll = select.poll()
        poll.register(self.wire.socket, select.POLLIN)
        while not self._ended.is_set() and not self.wire.closed:
            self.longest_silence = max(self.longest_silence, self.wire.silent_for())
            if poll.poll(50):
                self.heard += self.wire.receive()

    def has(self, kind: str) -> bool:
        return any(message.get("kind") == kind for message in self.heard)

    def join(self) -> None:
        """Waits until the node has hung up."""
        self._thread.join(timeout=10)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self.wire.close()


class Scene:
    """A node within a loop, and the other sides of its connections."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self.port = run_dir, free_port()
        self.held, self.loop = ExitStack(), Loop()
        self.peers: list[Peer] = []

    def launch(
        self, rank: int, *, source: str = "NNODES=2", check_node: Callable[[], None] = lambda: None, **limits: float
    ) -> Launch:
        job = Job(
            kind="training",
            log="train.log",
            command=("job",),
            resources=Resources(),
            accelerators=1,
            accelerators_option="trainer.n_gpus_per_node",
            run_dir=self.run_dir,
            checkpoints=self.run_dir / "checkpoints",
            check_node=check_node,
        )
        cluster = Cluster(nodes=2, rank=rank, head="127.0.0.1", port=self.port, source=source)
        return Launch(job=job, cluster=cluster, limits=Limits(**{"join": 20.0, "lost": LOST, "stop": 0.5, **limits}))

    def head(self) -> Head:
        return Head(self.launch(0), RunFolder(self.run_dir, rank=0), self.loop, self.held)

    def worker(self) -> Worker:
        return Worker(self.launch(1), RunFolder(self.run_dir, rank=1), self.loop, self.held)

    def peer(self, connection: socket.socket, secret: str | None = None) -> Peer:
        secret = RunFolder(self.run_dir, rank=1).secret() if secret is None else secret
        self.peers.append(Peer(connection, secret))
        return self.peers[-1]

    def connect(self, address: str = "127.0.0.1", *, secret: str | None = None) -> Peer:
        """The other side of a new connection to the head; its secret is the run's unless said otherwise."""
        return self.peer(socket.create_connection((address, self.port), timeout=5), secret)

    def member(self, address: str = "127.0.0.1") -> Peer:
        """A worker that has introduced itself, and beats as workers do."""
        peer = self.connect(address)
        peer.wire.send({"kind": "hello", "rank": 1, "nodes": 2, "host": "other", "command": ["job"]})
        beats = Beats(limit=LOST)
        beats.add(peer.wire)
        self.held.callback(beats.end)
        return peer

    def play(self, *scenes: Callable[[], bool]) -> None:
        """Lets every scene come once the one before has said that it is over."""
        left = list(scenes)

        def turn() -> None:
            if left and left[0]():
                left.pop(0)

        self.loop.every_turn(turn)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def joining(scene: Scene, address: str = "127.0.0.1") -> tuple[Callable[[], bool], Callable[[], bool]]:
    """Scenes of a worker that comes, and is ready once it is told to start."""

    def comes() -> bool:
        scene.member(address)
        return True

    def is_ready() -> bool:
        if scene.peers[-1].has("start"):
            scene.peers[-1].wire.send({"kind": "ready"})
        return scene.peers[-1].has("start")

    return comes, is_ready


def accepting(scene: Scene, *messages: Message, after: float = 0.0, secret: str | None = None) -> Callable[[], bool]:
    """A scene of a head that takes the worker's connection and says something."""
    server = scene.held.enter_context(socket.create_server(("127.0.0.1", scene.port)))
    begin = time.monotonic() + after

    def accepts() -> bool:
        if time.monotonic() < begin:
            return False
        peer = scene.peer(server.accept()[0], secret)
        for message in messages:
            peer.wire.send(message)
        return True

    return accepts
