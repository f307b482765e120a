"""JSON messages between the launchers of a cluster, one per line of a TCP connection."""

import json
import socket
import time
from typing import Any

_LONGEST_LINE = 1 << 20
_SEND_SECONDS = 5.0
# Connections are watched by messages that say nothing, so that a machine that vanished without a word is noticed.
_BEAT_SECONDS = 5.0

Message = dict[str, Any]


class Wire:
    """One connection.

    Attributes:
        closed: Whether the other side is gone.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(_SEND_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.closed = False
        self._rest = b""
        self._heard = self._beat = time.monotonic()

    @property
    def own_address(self) -> str:
        """This side's address: the one by which the other side reaches this host."""
        return str(self.socket.getsockname()[0]).removeprefix("::ffff:")

    def send(self, message: Message) -> None:
        """Sends, or notes that the other side is gone."""
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
        self._heard = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            messages = [json.loads(line) for line in lines]
        except ValueError:
            messages = [None]
        if len(self._rest) > _LONGEST_LINE or not all(isinstance(message, dict) for message in messages):
            self.closed = True
            return []
        return [message for message in messages if message]

    def beat(self) -> None:
        """Tells the other side now and then that this one lives."""
        if time.monotonic() - self._beat > _BEAT_SECONDS:
            self._beat = time.monotonic()
            self.send({})

    def silent_for(self) -> float:
        """Seconds since the other side was heard."""
        return time.monotonic() - self._heard

    def close(self) -> None:
        """Closes this side."""
        self.closed = True
        self.socket.close()
