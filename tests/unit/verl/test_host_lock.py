"""Two trainings with clusters of their own do not meet on one machine, whoever starts them and with what umask."""

import inspect
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from training_run import ROOT

from treepo.config import ConfigError
from treepo.verl.host_lock import sole_private_cluster

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom treepo.verl.host_lock import sole_private_cluster\n"
    "with sole_private_cluster(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
)
WHERE = (
    "import inspect\nfrom treepo.verl.host_lock import sole_private_cluster\n"
    "print(inspect.signature(sole_private_cluster).parameters['path'].default)"
)
NOBODY = 65534


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that all users may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def somebody_else() -> Iterator[None]:
    """Takes root's powers away, which pass over a file's access; for others nothing changes."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def test_the_second_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with (
            pytest.raises(ConfigError, match=rf"process {first.pid} trains on this machine already"),
            sole_private_cluster(lock),
        ):
            pass
    finally:
        first.kill()
        first.wait()
    # A killed holder holds nothing.
    with sole_private_cluster(lock):
        pass


def test_the_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with sole_private_cluster(tmp_path / "lock"):
            pass


def test_nodes_of_one_cluster_share_a_machine_and_others_do_not(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with sole_private_cluster(lock, cluster="ours"), sole_private_cluster(lock, cluster="ours"):
        for other in ("theirs", None):
            with pytest.raises(ConfigError, match=f"process {os.getpid()} "), sole_private_cluster(lock, cluster=other):
                pass


@pytest.mark.parametrize("value", [0o022, 0o077])
def test_every_user_may_use_the_file_of_the_first(open_folder: Path, value: int) -> None:
    lock = open_folder / "lock"
    with umask(value), sole_private_cluster(lock):
        assert mode(lock) == 0o666
    assert [file.name for file in open_folder.iterdir()] == ["lock"]
    with somebody_else(), sole_private_cluster(lock):
        assert lock.read_text() == f"{os.getpid()} "


def test_the_file_has_its_name_only_once_all_users_may_open_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, link = tmp_path / "lock", os.link
    modes: list[int] = []

    def watched(source: str, target: Path) -> None:
        modes.append(mode(Path(source)))
        assert not target.exists()
        link(source, target)

    monkeypatch.setattr(os, "link", watched)
    with umask(0o077), sole_private_cluster(lock):
        pass
    assert modes == [0o666]


def test_of_many_that_start_at_once_one_holds_the_machine(tmp_path: Path) -> None:
    lock, count = tmp_path / "lock", 8
    start, stop = threading.Barrier(count), threading.Barrier(count)
    outcomes: list[str] = []

    def begin() -> None:
        start.wait()
        try:
            with sole_private_cluster(lock):
                outcomes.append("held")
                stop.wait(20)
        except ConfigError as error:
            outcomes.append("refused" if "trains on this machine already" in str(error) else str(error))
            stop.wait(20)

    threads = [threading.Thread(target=begin) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["held"] + ["refused"] * (count - 1)
    assert [file.name for file in tmp_path.iterdir()] == ["lock"]


def test_a_file_that_may_only_be_read_excludes_all_the_same(open_folder: Path) -> None:
    lock = open_folder / "lock"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lock.write_text(f"{ended.pid} ")
    lock.chmod(0o444)
    with somebody_else(), sole_private_cluster(lock):
        # Its holder cannot write its name, and the one that stands there runs no longer.
        with (
            pytest.raises(ConfigError, match=r"refused: another process trains on this machine already"),
            sole_private_cluster(lock),
        ):
            pass
        assert lock.read_text() == f"{ended.pid} "


def test_an_existing_file_is_never_opened_with_the_wish_to_create_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Linux refuses that for another user's file in a folder like /tmp, whatever the file's access.
    lock, opened = tmp_path / "lock", os.open
    lock.touch()
    flags: list[int] = []

    def watched(path: Path, wanted: int, *rest: int, **named: int) -> int:
        flags.append(wanted)
        return opened(path, wanted, *rest, **named)

    monkeypatch.setattr(os, "open", watched)
    with sole_private_cluster(lock):
        pass
    assert flags
    assert not any(wanted & os.O_CREAT for wanted in flags)


@pytest.mark.parametrize("trouble", ["closed to others", "a folder", "a link", "in no folder"])
def test_a_file_that_cannot_be_used_is_one_line_with_its_name_and_the_remedy(open_folder: Path, trouble: str) -> None:
    lock = open_folder / "lock"
    if trouble == "closed to others":
        lock.touch()
        lock.chmod(0)
    elif trouble == "a folder":
        lock.mkdir()
    elif trouble == "a link":
        (open_folder / "somebodys").write_text("precious")
        lock.symlink_to(open_folder / "somebodys")
    else:
        lock = open_folder / "missing" / "lock"
    with somebody_else(), pytest.raises(ConfigError) as refused, sole_private_cluster(lock):
        pass
    line = str(refused.value)
    assert line.startswith(f"the lock of the machine's Ray clusters, {lock}, cannot be used (")
    assert line.endswith(f"(chmod 666 {lock})")
    assert "\n" not in line
    if trouble == "a link":
        assert (open_folder / "somebodys").read_text() == "precious"


def test_an_error_of_the_training_itself_passes_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the training's"), sole_private_cluster(tmp_path / "lock"):
        raise FileNotFoundError("the training's")


def test_the_lock_stands_where_verls_sockets_do_whatever_tmpdir_says(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", WHERE],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "/tmp/treepo-private-cluster.lock"
    assert inspect.signature(sole_private_cluster).parameters["path"].default == Path(answer.stdout.strip())
