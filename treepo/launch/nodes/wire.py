"""Signed JSON messages between the launchers of a cluster, one per line of a TCP connection."""

import hmac
import json
import re
import secrets
import select
import socket
import threading
import time
from typing import Any

_LONGEST_LINE = 1 << 20
_SEND_SECONDS = 5.0
# Connections are watched by messages that say nothing, so that a machine that vanished without a word is noticed.
_BEAT_SECONDS = 5.0
_NONCE = re.compile(rb"[0-9a-f]{32}")

Message = dict[str, Any]


class Wire:
    """One connection; several threads may send.

    Each side begins with a nonce. Every line after it carries an HMAC, keyed with the run's secret, of both nonces, the
    number of the line and the message. So a line of a stranger, or one that was recorded, is not even parsed, and the
    secret itself never travels.

    Attributes:
        closed: Whether the other side is gone.
        heard: Whether any message has ever come from it, signed with the same secret.
        foreign: Whether it was hung up on for a line that was not.
    """

    def __init__(self, connection: socket.socket, *, secret: str) -> None:
        connection.settimeout(_SEND_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.closed = self.heard = self.foreign = False
        self._secret = secret.encode()
        self._own, self._theirs = secrets.token_hex(16).encode(), b""
        self._sent = self._received = 0
        # Until the other side's nonce has come.
        self._unsent: list[Message] = []
        self._rest = b""
        self._last = time.monotonic()
        # Also held while closing, so that no thread sends to whatever gets the number of the socket next.
        self._sending = threading.Lock()
        self._write(self._own)

    @property
    def own_address(self) -> str:
        """This side's address: the one by which the other side reaches this host."""
        return str(self.socket.getsockname()[0]).removeprefix("::ffff:")

    @property
    def peer_address(self) -> str:
        """The other side's address; empty where it has gone already."""
        try:
            return str(self.socket.getpeername()[0]).removeprefix("::ffff:")
        except OSError:
            return ""

    @property
    def waits(self) -> bool:
        """Whether messages wait for the other side's nonce; `receive` sends them when that has come."""
        return bool(self._unsent) and not self.closed

    def send(self, message: Message) -> None:
        """Sends, or notes that the other side is gone."""
        with self._sending:
            self._unsent.append(message)
            self._flush()

    def _flush(self) -> None:
        if not self._theirs:
            return
        for message in self._unsent:
            body = json.dumps(message).encode()
            self._write(self._signature(self._own, self._theirs, self._sent, body) + body)
            self._sent += 1
        self._unsent.clear()

    def _write(self, line: bytes) -> None:
        try:
            self.socket.sendall(line + b"\n")
        except OSError:
            self.closed = True

    def _signature(self, sender: bytes, receiver: bytes, count: int, body: bytes) -> bytes:
        signed = b"%s %s %d %s" % (sender, receiver, count, body)
        return hmac.digest(self._secret, signed, "sha256").hex().encode()

    def receive(self) -> list[Message]:
        """The messages that have come in; call it when the socket is readable.

        What is no message of a launcher of this run closes the connection.
        """
        try:
            data = self.socket.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return []
        self._last = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        try:
            if len(self._rest) > _LONGEST_LINE:
                raise ValueError("a line without an end")
            return [message for line in lines if (message := self._read(line))]
        except ValueError:
            self.closed = self.foreign = True
            return []

    def _read(self, line: bytes) -> Message:
        """The message of a line; empty for the other side's nonce, and for a beat.

        Raises:
            ValueError: The line is of somebody else.
        """
        if not self._theirs:
            # Its own nonce, sent back, would make its own lines those of the other side.
            if not _NONCE.fullmatch(line) or line == self._own:
                raise ValueError("no nonce")
            with self._sending:
                self._theirs = line
                self._flush()
            return {}
        signature, body = line[:64], line[64:]
        if not hmac.compare_digest(signature, self._signature(self._theirs, self._own, self._received, body)):
            raise ValueError("signed with another secret")
        self._received += 1
        self.heard = True
        return json.loads(body)

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
