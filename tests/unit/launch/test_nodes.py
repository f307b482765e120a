"""Head and worker without Ray and without a job: whom they count, and what may hold either of them up."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from node_scene import LOST, EndedChild, Scene, StubRay, accepting, joining

from treepo.launch import head, worker
from treepo.launch.errors import LaunchError
from treepo.launch.head import Head
from treepo.launch.processes import Child
from treepo.launch.run_folder import RunFolder
from treepo.launch.wire import Message

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(StubRay, "started", [], raising=False)
    monkeypatch.setattr(head, "Child", EndedChild)
    for module in (head, worker):
        monkeypatch.setattr(module, "RayNode", StubRay)
        monkeypatch.setattr(module, "sole_private_cluster", lambda **_: nullcontext())
    found = Scene(tmp_path / "run")
    with found.held, found.loop:
        yield found
        for peer in found.peers:
            peer.close()


def test_only_a_node_that_introduced_itself_gives_the_address_and_is_waited_for(scene: Scene) -> None:
    def stranger() -> bool:
        scene.connect("127.0.0.1")
        return True

    def refused() -> bool:
        scene.connect("127.0.0.1").wire.send({"kind": "hello", "rank": 7, "nodes": 2, "host": "x", "command": []})
        return True

    scene.play(stranger, refused, lambda: scene.peers[1].has("refused"), *joining(scene, "127.0.0.2"))
    node = scene.head()
    assert node.run() == 0
    assert [ray["address"] for ray in StubRay.started] == ["127.0.0.2"]
    assert not scene.peers[0].has("start"), "the cluster's secret is for its nodes"
    assert not scene.peers[1].has("start")
    node.finish(0, "")


def test_a_head_that_is_held_up_loses_nobody_and_is_not_lost(scene: Scene) -> None:
    def held_up() -> bool:
        # As by a write to a disk that does not answer, or to a stopped terminal.
        time.sleep(2 * LOST)
        return True

    comes, is_ready = joining(scene)
    scene.play(comes, lambda: scene.peers[-1].wire.heard, held_up, is_ready)
    node = scene.head()
    assert node.run() == 0
    assert scene.peers[0].longest_silence < LOST
    node.finish(0, "")


def test_a_stopped_terminal_loses_nobody(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    talks = "import time; time.sleep(1.5); print('#' * 300_000)"

    def child(command: list[str], **options: Any) -> Child | EndedChild:
        if "--check" in command:
            return Child([sys.executable, "-c", talks], **options)
        return EndedChild()

    reading, writing = os.pipe()
    shown: list[bytes] = []

    def go_on() -> None:
        time.sleep(1.5 + 2 * LOST)
        while data := os.read(reading, 1 << 16):
            shown.append(data)

    monkeypatch.setattr(head, "Child", child)
    scene.play(*joining(scene))
    terminal = threading.Thread(target=go_on, daemon=True)
    with os.fdopen(writing, "w") as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        terminal.start()
        node = scene.head()
        assert node.run() == 0
        node.finish(0, "")
    terminal.join()
    os.close(reading)
    assert b"".join(shown).count(b"#") == 300_000
    assert scene.peers[0].longest_silence < LOST


def test_a_silent_node_is_still_lost(scene: Scene) -> None:
    def comes() -> bool:
        scene.connect().wire.send({"kind": "hello", "rank": 1, "nodes": 2, "host": "other", "command": ["job"]})
        return True

    scene.play(comes)
    node = scene.head()
    with pytest.raises(LaunchError, match=r"rank 1 \(other\) is gone: nothing was heard from it for [34] s"):
        node.run()
    node.finish(1, "")


def test_taking_down_may_take_longer_than_a_nodes_silence(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(_: EndedChild, number: int, *, seconds: float) -> None:
        scene.loop.until(lambda: False, seconds=2 * LOST / 3, interruptible=False)

    scene.play(*joining(scene))
    node = scene.head()
    assert node.run() == 0
    monkeypatch.setattr(EndedChild, "end", slowly)
    node.finish(3, "it was slow")
    assert scene.peers[0].longest_silence < LOST
    assert {"kind": "end", "status": 3, "why": "it was slow"} in scene.peers[0].heard


def test_missing_nodes_of_a_batch_script_are_told_of_srun(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    launch = scene.launch(0, source="SLURM_NNODES=2, SLURM_NODEID=0, SLURM_JOB_NODELIST=gpu08", join=0.5)
    node = Head(launch, RunFolder(scene.run_dir, rank=0), scene.loop, scene.held)
    with pytest.raises(LaunchError, match=r"missing ranks: 1 .*; under Slurm it is started with srun"):
        node.run()
    node.finish(1, "")
    assert "waiting for 1 more nodes" in (out := capsys.readouterr().out)
    assert "srun" in out


# --- a worker


START: Message = {"kind": "start", "address": "127.0.0.1:1", "cluster": "this launch", "token": "secret"}


def ending(scene: Scene) -> bool:
    scene.peers[-1].wire.send({"kind": "end", "status": 5, "why": ""})
    return True


def test_a_worker_waits_for_a_head_that_is_still_busy_with_its_start(scene: Scene) -> None:
    scene.play(accepting(scene, {"kind": "end", "status": 5, "why": ""}, after=2 * LOST))
    node = scene.worker()
    assert node.run() == 5
    node.finish(5, "")


def test_a_head_that_falls_silent_is_lost(scene: Scene) -> None:
    scene.play(accepting(scene, {}))
    node = scene.worker()
    with pytest.raises(LaunchError, match=r"is gone: nothing was heard from it for [34] s"):
        node.run()
    node.finish(1, "")


def test_a_shared_folder_is_no_word_worth(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    RunFolder(scene.run_dir, rank=0).mark("this launch")
    scene.play(accepting(scene, START), lambda: scene.peers[-1].has("ready"), lambda: ending(scene))
    node = scene.worker()
    assert node.run() == 5
    assert not scene.peers[-1].has("apart")
    node.finish(5, "")
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("earlier", [None, "an earlier launch"])
def test_a_folder_of_a_nodes_own_is_a_warning_on_both_sides(
    scene: Scene, earlier: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if earlier is not None:
        RunFolder(scene.run_dir, rank=0).mark(earlier)
    monkeypatch.setattr(worker, "_SHARED_SECONDS", 0.5)
    scene.play(accepting(scene, START), lambda: scene.peers[-1].has("apart"), lambda: ending(scene))
    node = scene.worker()
    assert node.run() == 5
    node.finish(5, "")
    assert f"does not see the head's files in {scene.run_dir}" in capsys.readouterr().err


def test_the_head_repeats_a_nodes_warning_with_its_name(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    comes, is_ready = joining(scene)

    def warns() -> bool:
        scene.peers[-1].wire.send({"kind": "apart", "why": "does not see"})
        return True

    scene.play(comes, warns, is_ready)
    node = scene.head()
    assert node.run() == 0
    node.finish(0, "")
    assert "warning: rank 1 (other) does not see" in capsys.readouterr().err


def test_every_launch_leaves_a_mark_of_its_own(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", rank=0)
    assert not folder.has_mark("first")
    for launch in ("first", "second"):
        folder.mark(launch)
    assert (folder.has_mark("first"), folder.has_mark("second")) == (False, True)
