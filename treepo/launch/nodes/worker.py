"""Every other node: joins the head's Ray cluster, and ends as the head says."""

import os
import socket
import time
from contextlib import ExitStack

from treepo.config import ConfigError
from treepo.launch.nodes.errors import LaunchError
from treepo.launch.nodes.job import Launch
from treepo.launch.nodes.loop import Loop
from treepo.launch.nodes.ray_node import RayNode, check_folder
from treepo.launch.nodes.run_folder import RunFolder
from treepo.launch.nodes.wire import Beats, Message, Wire

_CONNECT_SECONDS = 5.0


class Worker:
    """The launcher of a node other than 0, within a loop."""

    def __init__(self, launch: Launch, folder: RunFolder, loop: Loop, held: ExitStack) -> None:
        self._launch, self._folder, self._loop = launch, folder, loop
        self._where = f"{launch.cluster.head}:{launch.cluster.port}"
        self._secret = folder.secret()
        self._wire: Wire | None = None
        self._beats = Beats(limit=launch.limits.lost)
        held.callback(self._beats.end)
        self._ray: RayNode | None = None
        self._ready = False
        self._end: Message | None = None
        self._start: Message | None = None
        self._refusal = ""
        self._limit = time.monotonic() + launch.limits.join

    def run(self) -> int:
        """Serves the job.

        Returns:
            The job's exit status, as the head gave it.

        Raises:
            ConfigError: The head, or this machine, refuses the node.
            LaunchError: The head cannot be reached or is gone, or Ray fails here.
            Interrupted: A signal came.
        """
        self._wire = wire = self._connect()
        self._loop.watch(wire.socket, self._hear)
        self._loop.every_turn(self._watch)
        self._beats.add(wire)
        place = self._launch.cluster
        self._folder.say(f"rank {place.rank} of {place.nodes}, connected to the head at {self._where}")
        wire.send(
            {
                "kind": "hello",
                "rank": place.rank,
                "nodes": place.nodes,
                "host": socket.gethostname(),
                "command": list(self._launch.job.command),
            }
        )
        # Only now, so that the head hears of it.
        check_folder(os.environ)
        self._launch.job.check_node()
        self._loop.until(lambda: self._end is not None, seconds=None)
        assert self._end is not None
        if why := self._end.get("why"):
            self._folder.say(f"the head ended the run: {why}", error=True)
        return int(self._end["status"])

    def finish(self, status: int, why: str) -> None:
        """Ends this node's Ray, tells the head why unless it ended the run itself, and disconnects."""
        stop = self._launch.limits.stop
        if (wire := self._wire) is not None and self._end is None:
            wire.send({"kind": "failed", "why": why})
            # A node that is refused at once ends before the head has answered.
            self._loop.until(lambda: not wire.waits, seconds=stop, interruptible=False)
        if self._ray is not None:
            self._ray.stop(seconds=stop, keep_logs=status != 0)
        if self._wire is not None:
            self._loop.forget(self._wire.socket)
            self._wire.close()

    def _connect(self) -> Wire:
        found: list[socket.socket] = []
        reason = ""
        place = self._launch.cluster

        def reached() -> bool:
            nonlocal reason
            try:
                found.append(socket.create_connection((place.head, place.port), timeout=_CONNECT_SECONDS))
            except OSError as error:
                reason = error.strerror or str(error)
            return bool(found)

        if not self._loop.until(reached, seconds=self._launch.limits.join):
            raise LaunchError(
                f"the head cannot be reached at {self._where} within {self._launch.limits.join:.0f} s ({reason}); "
                f"{place.source}: is that rank 0's host, does the launcher run there, is the port open?"
            )
        return Wire(found[0], secret=self._secret)

    def _hear(self) -> None:
        assert self._wire is not None
        for message in self._wire.receive():
            match message.get("kind"):
                case "refused":
                    self._refusal = f"the head at {self._where} refuses this node: {message.get('why')}"
                case "start":
                    self._start = message
                case "end":
                    self._end = message

    def _join(self, start: Message) -> RayNode:
        assert self._wire is not None
        return RayNode(
            self._launch.job.resources,
            rank=self._launch.cluster.rank,
            join=str(start["address"]),
            address=self._wire.own_address,
            token=self._secret,
            loop=self._loop,
            logs=self._folder.logs,
        )

    def _watch(self) -> None:
        assert self._wire is not None
        if self._end is not None:
            return
        if self._refusal:
            raise ConfigError(self._refusal)
        if self._wire.foreign or (self._wire.closed and not self._wire.heard):
            raise LaunchError(
                f"{self._where} hung up: the head has just ended, something else listens there, or this node's "
                f"{self._folder.secret_file} is not the head's; put run_dir on storage that all nodes share, or copy "
                "that file from the head"
            )
        if self._wire.closed:
            raise LaunchError(f"the head at {self._where} is gone: its launcher ended without a word")
        # A head that is still busy with its own start has not begun to beat.
        limit = self._launch.limits.lost if self._wire.heard else self._launch.limits.join
        if (silence := self._wire.silent_for()) > limit:
            raise LaunchError(f"the head at {self._where} is gone: nothing was heard from it for {silence:.0f} s")
        if self._ray is None and self._start is not None:
            self._ray = self._join(self._start)
        if self._ray is not None:
            self._watch_ray(self._ray, self._wire)

    def _watch_ray(self, ray: RayNode, wire: Wire) -> None:
        log = f"its log is {self._folder.logs}/ray-rank-{self._launch.cluster.rank}.log"
        if ray.child.status is not None:
            raise LaunchError(f"Ray has ended on this node; {log}")
        if not self._ready and ray.cluster_address is not None:
            self._ready = True
            wire.send({"kind": "ready"})
        if not self._ready and time.monotonic() > self._limit:
            raise LaunchError(f"Ray did not join the cluster; {log}")
