"""Messages between launchers, whole or not at all."""

import socket
import threading
import time

import pytest

from treepo.launch.wire import Beats, Wire


def pair() -> tuple[Wire, Wire]:
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    server.close()
    return Wire(client), Wire(accepted)


def received(wire: Wire, count: int) -> list[dict]:
    messages: list[dict] = []
    while len(messages) < count and not wire.closed:
        messages += wire.receive()
    return messages


def test_messages_come_whole_and_in_order_however_they_are_cut() -> None:
    here, there = pair()
    here.socket.sendall(b'{"kind": "a"}\n{"ki')
    assert there.receive() == [{"kind": "a"}]
    here.socket.sendall(b'nd": "b"}\n{"kind": "c"}\n')
    assert received(there, 2) == [{"kind": "b"}, {"kind": "c"}]
    assert here.own_address == "127.0.0.1"


def test_the_end_of_the_other_side_is_seen() -> None:
    here, there = pair()
    here.send({"kind": "last"})
    here.close()
    assert received(there, 1) == [{"kind": "last"}]
    assert there.receive() == []
    assert there.closed


@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\n\r\n", b"[1]\n"])
def test_a_stranger_is_hung_up_on(words: bytes) -> None:
    here, there = pair()
    here.socket.sendall(words)
    assert there.receive() == []
    assert there.closed


def test_a_line_without_end_is_hung_up_on() -> None:
    here, there = pair()
    for _ in range(40):
        here.socket.sendall(b"x" * 32768)
        assert there.receive() == []
        if there.closed:
            break
    assert there.closed


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


def test_beats_go_on_whatever_the_main_thread_does_and_end_with_the_connection() -> None:
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
