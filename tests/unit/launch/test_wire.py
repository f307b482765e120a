"""Messages between launchers, whole or not at all."""

import socket
import threading
import time

import pytest

from treepo.launch.nodes.wire import Beats, Wire


def sockets() -> tuple[socket.socket, socket.socket]:
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    server.close()
    return client, accepted


def pair(here: str = "secret", there: str = "secret") -> tuple[Wire, Wire]:
    """Two sides that know each other's nonce."""
    client, accepted = sockets()
    wires = Wire(client, secret=here), Wire(accepted, secret=there)
    for wire in wires:
        assert (wire.receive(), wire.closed, wire.heard) == ([], False, False)
    return wires


def received(wire: Wire, count: int) -> list[dict]:
    messages: list[dict] = []
    while len(messages) < count and not wire.closed:
        messages += wire.receive()
    return messages


class Recorded:
    """A socket that keeps what is sent through it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.sent = connection, b""

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def __getattr__(self, name: str) -> object:
        return getattr(self.connection, name)


def line_of(wire: Wire, message: dict) -> bytes:
    """What a side would send, unsent."""
    recorded = Recorded(wire.socket)
    wire.socket = recorded  # pyright: ignore[reportAttributeAccessIssue]
    wire.send(message)
    wire.socket = recorded.connection
    return recorded.sent


def test_messages_come_whole_and_in_order_however_they_are_cut() -> None:
    here, there = pair()
    lines = b"".join(line_of(here, {"kind": kind}) for kind in "abc")
    cut = lines.index(b"\n") + 70
    here.socket.sendall(lines[:cut])
    assert there.receive() == [{"kind": "a"}]
    here.socket.sendall(lines[cut:])
    assert received(there, 2) == [{"kind": "b"}, {"kind": "c"}]
    assert (here.own_address, here.peer_address) == ("127.0.0.1", "127.0.0.1")


def test_what_is_sent_before_the_other_sides_nonce_has_come_is_sent_after_it() -> None:
    client, accepted = sockets()
    here = Wire(client, secret="secret")
    here.send({"kind": "a"})
    here.send({"kind": "b"})
    there = Wire(accepted, secret="secret")
    here.receive()
    assert received(there, 2) == [{"kind": "a"}, {"kind": "b"}]


def test_the_end_of_the_other_side_is_seen() -> None:
    here, there = pair()
    here.send({"kind": "last"})
    here.close()
    assert received(there, 1) == [{"kind": "last"}]
    assert there.receive() == []
    assert (there.closed, there.foreign, there.heard) == (True, False, True)


@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b"[" * 100_000 + b"\n", b"\xff\n", b"\n"])
@pytest.mark.parametrize("met", [False, True])
def test_a_stranger_is_hung_up_on(words: bytes, met: bool) -> None:
    client, accepted = sockets()
    there = Wire(accepted, secret="secret")
    client.sendall(b"0" * 32 + b"\n" + words if met else words)
    while not there.closed:
        assert there.receive() == []
    assert (there.foreign, there.heard) == (True, False)


def test_a_side_with_another_secret_is_hung_up_on_and_its_words_are_not_taken() -> None:
    here, there = pair("secret", "another")
    here.send({"kind": "hello"})
    assert there.receive() == []
    assert (there.closed, there.foreign, there.heard) == (True, True, False)


def test_what_was_said_before_is_not_taken_again() -> None:
    here, there = pair()
    line = line_of(here, {"kind": "ready"})
    here.socket.sendall(line + line)
    assert there.receive() == []
    assert there.foreign
    _, elsewhere = pair()
    here.socket.sendall(line)
    elsewhere.socket = there.socket
    assert elsewhere.receive() == []
    assert elsewhere.foreign


def test_a_mirror_is_hung_up_on() -> None:
    client, accepted = sockets()
    there = Wire(accepted, secret="secret")
    client.sendall(client.recv(100))
    assert there.receive() == []
    assert there.foreign


def test_a_secret_never_travels() -> None:
    client, accepted = sockets()
    here = Wire(client, secret="secret")
    accepted.sendall(b"0" * 32 + b"\n")
    here.receive()
    here.send({"kind": "hello"})
    assert b"secret" not in accepted.recv(1000)


def test_a_line_without_end_is_hung_up_on() -> None:
    here, there = pair()
    for _ in range(40):
        here.socket.sendall(b"x" * 32768)
        assert there.receive() == []
        if there.closed:
            break
    assert there.foreign


def test_a_beat_is_no_message_but_breaks_the_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = pair()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 30)
    assert (there.silent_for() >= 30, there.heard) == (True, False)
    here.send({})
    assert there.receive() == []
    assert (there.closed, there.silent_for(), there.heard) == (False, 0, True)


def test_what_waits_to_be_read_is_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = pair()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 30)
    here.send({})
    assert there.silent_for() == 0
    assert there.receive() == []
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    assert there.silent_for() == 30


def test_beats_continue_whatever_the_main_thread_does_and_end_with_the_connection() -> None:
    here, there = pair()
    beats = Beats(limit=0.2)
    beats.add(here)
    for _ in range(3):
        there.socket.settimeout(10)
        assert there.receive() == []
        assert not there.closed
    here.close()
    while not there.closed:
        assert there.receive() == []
    beats.end()
    assert not [thread for thread in threading.enumerate() if thread.name == "beats"]


def test_messages_of_several_threads_stay_whole() -> None:
    here, there = pair()
    long = "x" * 200_000
    threads = [threading.Thread(target=here.send, args=({"from": number, "text": long},)) for number in range(4)]
    for thread in threads:
        thread.start()
    found = received(there, 4)
    for thread in threads:
        thread.join()
    assert sorted(message["from"] for message in found) == [0, 1, 2, 3]
    assert all(message["text"] == long for message in found)
