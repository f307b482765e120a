"""Head and worker without Ray and without a job: whom they count, and what may hold either of them up."""

import os
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from node_scene import LOST, EndedChild, Scene, StubRay, accepting, joining

from treepo.config import ConfigError
from treepo.launch.nodes import head, run_folder, worker
from treepo.launch.nodes.errors import LaunchError
from treepo.launch.nodes.head import Head
from treepo.launch.nodes.loop import Loop
from treepo.launch.nodes.processes import Child
from treepo.launch.nodes.run_folder import RunFolder
from treepo.launch.nodes.screen import Screen
from treepo.launch.nodes.wire import Message
from treepo.launch.nodes.worker import Worker

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(StubRay, "started", [], raising=False)
    monkeypatch.setattr(head, "Child", EndedChild)
    for module in (head, worker):
        monkeypatch.setattr(module, "RayNode", StubRay)
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


@pytest.mark.nightly
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


@pytest.mark.nightly
def test_a_stopped_terminal_loses_nobody(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    talks = "import time; time.sleep(1.5); print('#' * 300_000)"

    def child(command: list[str], **options: Any) -> Child | EndedChild:
        if "--check" in command:
            return Child([sys.executable, "-c", talks], **options)
        return EndedChild()

    reading, writing = os.pipe()
    shown: list[bytes] = []

    def resume() -> None:
        time.sleep(1.5 + 2 * LOST)
        while data := os.read(reading, 1 << 16):
            shown.append(data)

    monkeypatch.setattr(head, "Child", child)
    scene.play(*joining(scene))
    terminal = threading.Thread(target=resume, daemon=True)
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


@pytest.mark.nightly
def test_taking_down_may_take_longer_than_a_nodes_silence(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(_: EndedChild, *, seconds: float) -> None:
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


START: Message = {"kind": "start", "address": "127.0.0.1:1", "cluster": "this launch"}


def ending(scene: Scene) -> bool:
    scene.peers[-1].wire.send({"kind": "end", "status": 5, "why": ""})
    return True


@pytest.mark.nightly
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


def test_a_worker_joins_with_the_secret_of_the_runs_folder(scene: Scene) -> None:
    scene.play(accepting(scene, START), lambda: scene.peers[-1].has("ready"), lambda: ending(scene))
    node = scene.worker()
    assert node.run() == 5
    node.finish(5, "")
    assert [ray["token"] for ray in StubRay.started] == [(scene.run_dir / "secret").read_text()]


def test_a_worker_whose_folder_is_not_the_heads_is_refused_and_told_why(scene: Scene) -> None:
    scene.play(accepting(scene, START, secret="of another folder"))
    node = scene.worker()
    with pytest.raises(LaunchError, match=r"hung up: .*/run/secret is not the head's; put run_dir on storage"):
        node.run()
    node.finish(1, "")
    assert StubRay.started == []


def test_a_head_counts_no_node_without_the_secret_and_names_its_host_once(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    def intrudes() -> bool:
        peer = scene.connect("127.0.0.1", secret="of another folder")
        peer.wire.send({"kind": "hello", "rank": 1, "nodes": 2, "host": "other", "command": ["job"]})
        return True

    scene.play(
        intrudes, lambda: scene.peers[0].wire.closed, intrudes, lambda: scene.peers[1].wire.closed, *joining(scene)
    )
    node = scene.head()
    assert node.run() == 0
    node.finish(0, "")
    errors = capsys.readouterr().err
    assert errors.count(f"127.0.0.1 is refused: it does not have {scene.run_dir}/secret") == 1
    assert not scene.peers[0].heard


def test_a_strangers_brackets_do_not_end_the_head(scene: Scene) -> None:
    def babbles() -> bool:
        scene.connect().wire.socket.sendall(b"[" * 100_000 + b"\n")
        return True

    scene.play(babbles, lambda: scene.peers[0].wire.closed, *joining(scene))
    node = scene.head()
    assert node.run() == 0
    node.finish(0, "")


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    folders = [RunFolder(tmp_path / "run", rank=rank) for rank in range(4)]
    with ThreadPoolExecutor(4) as pool:
        (secret,) = set(pool.map(RunFolder.secret, folders))
    assert len(secret) == 64
    assert stat.S_IMODE(folders[0].secret_file.stat().st_mode) == 0o600
    assert RunFolder(tmp_path / "other", rank=0).secret() != secret


def test_a_secret_that_others_may_read_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path, rank=0)
    folder.secret()
    folder.secret_file.chmod(0o640)
    assert folder.secret() == folder.secret_file.read_text()
    assert f"chmod 600 {tmp_path}/secret" in capsys.readouterr().err


def test_a_secret_that_cannot_be_used_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "_SECRET_SECONDS", 0.1)
    folder = RunFolder(tmp_path, rank=0)
    folder.secret_file.write_text("cut")
    with pytest.raises(ConfigError, match=r"secret is damaged; delete it"):
        folder.secret()
    folder.secret_file.unlink()
    folder.secret_file.mkdir()
    with pytest.raises(ConfigError, match=r"secret cannot be used \(Is a directory\)"):
        folder.secret()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"run_dir=.*/file/run cannot be written to \(Not a directory\)"):
        RunFolder(tmp_path / "file/run", rank=0)


# --- signals and output


def test_a_signal_that_is_ignored_stays_ignored(scene: Scene) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Loop() as loop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not loop.until(lambda: False, seconds=0.1)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_child_that_ignores_the_end_is_killed_with_all_that_it_started(scene: Scene, tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], process_group=0)\n"
        "print(inner.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    log = tmp_path / "log"
    child = Child([sys.executable, "-c", code], loop=scene.loop, log=log, environment=os.environ)
    assert scene.loop.until(lambda: log.read_text().endswith("\n"), seconds=30)
    child.end(seconds=0.5)
    assert child.status == 128 + signal.SIGKILL
    _, alive = psutil.wait_procs(
        [psutil.Process(int(log.read_text()))] if psutil.pid_exists(int(log.read_text())) else [], 5
    )
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


def test_a_log_on_a_full_disk_is_a_warning_and_the_job_runs_on(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "print('first', flush=True); import time; time.sleep(0.5); print('last')"
    child = Child(
        [sys.executable, "-c", code], loop=scene.loop, log=Path("/dev/full"), screen=Screen(), environment=os.environ
    )
    assert scene.loop.until(lambda: child.ended, seconds=30)
    assert child.status == 0
    captured = capsys.readouterr()
    assert captured.out == "first\nlast\n"
    assert captured.err == "warning: /dev/full: No space left on device; lines are lost\n"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_node_whose_machine_is_refused_starts_no_ray_and_a_worker_tells_the_head(scene: Scene, rank: int) -> None:
    def refuses() -> None:
        raise ConfigError("no C compiler is found")

    launch, folder = scene.launch(rank, check_node=refuses), RunFolder(scene.run_dir, rank=rank)
    server = scene.held.enter_context(socket.create_server(("127.0.0.1", scene.port))) if rank else None
    node = (Worker if rank else Head)(launch, folder, scene.loop, scene.held)
    with pytest.raises(ConfigError, match="no C compiler"):
        node.run()
    told = scene.peer(server.accept()[0]) if server is not None else None
    node.finish(2, "no C compiler is found")
    assert StubRay.started == []
    if told is not None:
        told.join()
        assert {"kind": "failed", "why": "no C compiler is found"} in told.heard
