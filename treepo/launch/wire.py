"""JSON messages between the launchers of a cluster, one per line of a TCP connection."""

import json
import select
import socket
import threading
import time
from typing import Any

_LONGEST_LINE = 1 << 20
_SEND_SECONDS = 5.0
# Connections are watched by messages that say nothing, so that a machine that vanished without a word is noticed.
_BEAT_SECONDS = 5.0

Message = dict[str, Any]


class Wire:
    """One connection; several threads may send.

    Attributes:
        closed: Whether the other side is gone.
        heard: Whether anything has ever come from it.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(_SEND_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.closed = self.heard = False
        self._rest = b""
        self._last = time.monotonic()
        # Also held while closing, so that no thread sends to whatever gets the number of the socket next.
        self._sending = threading.Lock()

    @property
    def own_address(self) -> str:
        """This side's address: the one by which the other side reaches this host."""
        return str(self.socket.getsockname()[0]).removeprefix("::ffff:")

    def send(self, message: Message) -> None:
        """Sends, or notes that the other side is gone."""
        with self._sending:
            try:
                self.socket.sendall(json.dumps(message).encode() + b"\n")
            except OSError:
                self.closed = True

    def receive(self) -> list[Message]:
        """The messages that have come in; call it when the socket is readable.

        What is no message of a launcher closes the connection.
        """
        try:
            data = self.socket.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return []
        self._last, self.heard = time.monotonic(), True
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            messages = [json.loads(line) for line in lines]
        except ValueError:
            messages = [None]
        if len(self._rest) > _LONGEST_LINE or not all(isinstance(message, dict) for message in messages):
            self.closed = True
            return []
        return [message for message in messages if message]

    def silent_for(self) -> float:
        """Seconds since the other side was heard; none while something waits to be read.

        A reader that was held up itself, as by a stalled disk, has not found out yet that the other side lives.
        """
        return 0.0 if self._waiting() else time.monotonic() - self._last

    def _waiting(self) -> bool:
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Closes this side."""
        with self._sending:
            self.closed = True
            self.socket.close()


class Beats:
    """A thread that tells the other sides now and then that this one lives.

    Not the launcher's own thread: that one writes to a shared disk and to a terminal, which may hold it up for minutes
    while the job is well.
    """

    def __init__(self, *, limit: float) -> None:
        """Makes the thread; it starts with the first connection.

        Args:
            limit: Seconds of silence after which a node counts as lost.
        """
        self._every = min(_BEAT_SECONDS, limit / 4)
        self._wires: list[Wire] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beats", daemon=True)

    def add(self, wire: Wire) -> None:
        """Beats on a connection from now on, until it is closed."""
        self._wires.append(wire)
        if self._thread.ident is None:
            self._thread.start()

    def end(self) -> None:
        """Beats no longer."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            for wire in tuple(self._wires):
                if not wire.closed:
                    wire.send({})
