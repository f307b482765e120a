"""Node 0: gathers the nodes, heads the Ray cluster, runs the job, and tells every node how it ended."""

import os
import secrets
import socket
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass

from treepo.config import ConfigError
from treepo.launch.nodes.errors import LaunchError
from treepo.launch.nodes.job import Launch
from treepo.launch.nodes.loop import Loop
from treepo.launch.nodes.processes import Child
from treepo.launch.nodes.ray_node import RayNode, check_folder, cluster_environment
from treepo.launch.nodes.run_folder import RunFolder
from treepo.launch.nodes.screen import Screen
from treepo.launch.nodes.wire import Beats, Message, Wire


@dataclass(slots=True)
class _Member:
    """A node that has connected; its rank is known once it has introduced itself."""

    wire: Wire
    rank: int = 0
    host: str = ""
    ready: bool = False

    def __str__(self) -> str:
        return f"rank {self.rank} ({self.host})"


class Head:
    """The launcher of node 0, within a loop."""

    def __init__(self, launch: Launch, folder: RunFolder, loop: Loop, held: ExitStack) -> None:
        self._launch, self._folder, self._loop = launch, folder, loop
        self._id = secrets.token_hex(8)
        # Of the nodes, and of their Ray cluster; one node alone has nobody to share it with.
        self._secret = folder.secret() if launch.cluster.nodes > 1 else secrets.token_hex(32)
        self._strangers: set[str] = set()
        self._screen = Screen()
        self._members: list[_Member] = []
        self._beats = Beats(limit=launch.limits.lost)
        held.callback(self._beats.end)
        self._server: socket.socket | None = None
        self._ray: RayNode | None = None
        self._children: list[Child] = []
        self._failure, self._refused = "", False
        self._limit = time.monotonic() + launch.limits.join

    def run(self) -> int:
        """Trains.

        Returns:
            The job's exit status.

        Raises:
            ConfigError: The configuration, or the machine, is refused.
            LaunchError: The cluster does not come together, or falls apart.
            Interrupted: A signal came.
        """
        job, nodes = self._launch.job, self._launch.cluster.nodes
        self._loop.every_turn(self._watch)
        if nodes > 1:
            self._listen()
        try:
            check_folder(os.environ)
            job.check_node()
            self._gather(self._child([*job.command, "--check"]))
        except ConfigError:
            self._refused = True
            raise
        if job.done:
            return 0
        address = self._start_ray()
        self._await_accelerators(address)
        step = self._folder.checkpoint_step(job.checkpoints)
        self._folder.say(
            f"{job.kind} on {nodes} x {job.accelerators} accelerators"
            + (f", from the checkpoint of step {step}" if step is not None else "")
            + f"; everything of it: {job.run_dir}, all that it prints: {self._folder.logs / job.log}"
        )
        trainer = self._child([*job.command, *self._joining(address)])
        self._loop.until(lambda: trainer.status is not None, seconds=None)
        trainer.end(seconds=self._launch.limits.stop)
        if trainer.status and self._screen.first_error:
            self._folder.say(f"the first error of another process: {self._screen.first_error}", error=True)
        return trainer.status or 0

    def finish(self, status: int, why: str) -> None:
        """Ends the job if it runs, then every node's Ray, and waits for the other launchers.

        Args:
            status: The exit status of all.
            why: The reason, for the other nodes' users; may be empty.
        """
        stop = self._launch.limits.stop
        for child in self._children:
            child.end(seconds=stop)
        if self._refused:
            # Nodes that are about to come would wait for a head that has gone.
            self._loop.until(self._complete, seconds=stop, interruptible=False)
        others = [member for member in self._members if not member.wire.closed]
        for member in others:
            member.wire.send({"kind": "end", "status": status, "why": why})
        self._loop.until(lambda: all(member.wire.closed for member in others), seconds=stop, interruptible=False)
        if self._ray is not None:
            self._ray.stop(seconds=stop, keep_logs=status != 0)
        if self._server is not None:
            self._loop.forget(self._server)
            self._server.close()

    def _child(self, command: list[str]) -> Child:
        child = Child(
            command,
            loop=self._loop,
            log=self._folder.logs / self._launch.job.log,
            screen=self._screen,
            environment=cluster_environment(self._secret),
        )
        self._children.append(child)
        return child

    def _left(self) -> float:
        return max(1.0, self._limit - time.monotonic())

    # Gathering

    def _listen(self) -> None:
        port = self._launch.cluster.port
        try:
            both = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if both else socket.AF_INET
            self._server = socket.create_server(("", port), family=family, backlog=1024, dualstack_ipv6=both)
        except OSError as error:
            raise LaunchError(
                f"port {port} of this host is not available ({error.strerror}); set TREEPO_PORT to a free one, on "
                "every node"
            ) from error
        self._loop.watch(self._server, self._accept)
        place = self._launch.cluster
        self._folder.say(f"waiting for {place.nodes - 1} more nodes on port {port}{place.hint}")

    def _accept(self) -> None:
        assert self._server is not None
        member = _Member(Wire(self._server.accept()[0], secret=self._secret))
        self._loop.watch(member.wire.socket, lambda: self._hear(member))
        self._members.append(member)

    def _hear(self, member: _Member) -> None:
        for message in member.wire.receive():
            match message.get("kind"):
                case "hello" if not member.rank:
                    self._welcome(member, message)
                case "ready":
                    member.ready = True
                case "failed" if member.rank:
                    self._failure = f"{member} failed: {message.get('why')}"
        if member.wire.closed:
            self._note_stranger(member.wire)
            self._loop.forget(member.wire.socket)
            member.wire.close()
            # One that never introduced itself, or was refused, is nobody.
            if not member.rank:
                self._members.remove(member)

    def _note_stranger(self, wire: Wire) -> None:
        # Once per host: whoever looks for open ports comes often.
        if wire.foreign and (host := wire.peer_address) not in self._strangers:
            self._strangers.add(host)
            self._folder.say(
                f"warning: {host} is refused: it does not have {self._folder.secret_file}; a node of this run needs "
                "run_dir on storage that all nodes share, or a copy of that file",
                error=True,
            )

    def _welcome(self, member: _Member, message: Message) -> None:
        rank, host = message.get("rank"), str(message.get("host"))
        nodes = self._launch.cluster.nodes
        holder = next((other for other in self._members if other.rank == rank), None)
        refusal = ""
        if not isinstance(rank, int) or not 0 < rank < nodes or message.get("nodes") != nodes:
            refusal = f"it is rank {rank} of {message.get('nodes')} nodes, the head counts {nodes}"
        elif holder is not None:
            refusal = f"{holder} is there already"
        elif message.get("command") != list(self._launch.job.command):
            refusal = "its command differs from the head's; give every node the same"
        if refusal:
            self._folder.say(f"{host} is refused as rank {rank}: {refusal}", error=True)
            member.wire.send({"kind": "refused", "why": refusal})
            return
        assert isinstance(rank, int)
        member.rank, member.host = rank, host
        # So that it knows that it is.
        member.wire.send({})
        self._beats.add(member.wire)
        self._folder.say(f"{member} is there")

    def _watch(self) -> None:
        if self._failure:
            raise LaunchError(self._failure)
        for member in self._introduced:
            if member.wire.closed:
                raise LaunchError(f"{member} is gone: its launcher ended without a word; what it wrote last says more")
            if (silence := member.wire.silent_for()) > self._launch.limits.lost:
                raise LaunchError(f"{member} is gone: nothing was heard from it for {silence:.0f} s")
        if self._ray is not None and self._ray.child.status is not None:
            raise LaunchError(f"Ray has ended on rank 0; its log is {self._folder.logs}/ray-rank-0.log")

    def _gather(self, check: Child) -> None:
        def settled() -> bool:
            return bool(check.status) or (check.ended and self._complete())

        there = self._loop.until(settled, seconds=self._left())
        if check.status:
            check.end(seconds=1.0)
            raise ConfigError("the configuration is refused; the reason is printed above")
        if not there:
            missing = sorted(set(range(self._launch.cluster.nodes)) - self._ranks())
            words = ", ".join(map(str, missing)) or "none: the check of the configuration takes too long"
            raise LaunchError(
                f"{len(self._ranks())} of {self._launch.cluster.nodes} nodes came within "
                f"{self._launch.limits.join:.0f} s; missing ranks: {words} ({self._launch.cluster.source}); "
                f"the launcher must run on every node{self._launch.cluster.hint}"
            )

    def _complete(self) -> bool:
        return len(self._ranks()) == self._launch.cluster.nodes

    def _ranks(self) -> set[int]:
        return {0, *(member.rank for member in self._introduced)}

    @property
    def _introduced(self) -> list[_Member]:
        """The nodes of the run; a connection that said nothing, or was refused, is none."""
        return [member for member in self._members if member.rank]

    # Ray

    def _start_ray(self) -> str:
        # The address by which another node reached this one; Ray chooses where there is none.
        own = next((member.wire.own_address for member in self._introduced), None)
        resources = self._launch.job.resources
        self._ray = ray = RayNode(
            resources, rank=0, join=None, address=own, token=self._secret, loop=self._loop, logs=self._folder.logs
        )
        if not self._loop.until(lambda: ray.cluster_address is not None, seconds=self._left()):
            raise LaunchError(f"Ray did not start on rank 0; its log is {self._folder.logs}/ray-rank-0.log")
        address = ray.cluster_address
        assert address is not None
        for member in self._introduced:
            member.wire.send({"kind": "start", "address": address, "cluster": self._id})
        if not self._loop.until(lambda: all(member.ready for member in self._introduced), seconds=self._left()):
            late = ", ".join(str(member) for member in self._introduced if not member.ready)
            raise LaunchError(f"Ray did not start within {self._launch.limits.join:.0f} s on {late}")
        return address

    def _await_accelerators(self, address: str) -> None:
        job, nodes = self._launch.job, self._launch.cluster.nodes
        wanted = (str(nodes), str(job.accelerators), f"{self._left():.0f}", job.accelerators_option)
        probe = self._child([sys.executable, "-m", "treepo.launch.nodes.accelerators", address, *wanted])
        self._loop.until(lambda: probe.ended, seconds=None)
        if probe.status:
            raise LaunchError("the Ray cluster lacks what the configuration wants; what is missing is printed above")

    def _joining(self, address: str) -> list[str]:
        """Overrides that make the job join the cluster instead of starting one."""
        return [
            f"++ray_kwargs.ray_init.address='{address}'",
            *(f"++ray_kwargs.ray_init.{name}=null" for name in ("num_cpus", "num_gpus", "object_store_memory")),
        ]
