"""Two trainings never write into one folder at a time, and side by side into two."""

import subprocess
import sys
from pathlib import Path

import pytest
from training_run import ROOT

from treepo.config import ConfigError
from treepo.files.sole_training import sole_training

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom treepo.files.sole_training import sole_training\n"
    "with sole_training(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
)


def test_the_second_is_refused_until_the_first_has_ended_however_it_ends(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(ConfigError) as refused, sole_training(tmp_path):
            pass
        assert str(refused.value).startswith(f"run_dir={tmp_path} is refused: another training writes there")
        assert "\n" not in str(refused.value)
        with sole_training(tmp_path / "another"):
            pass
    finally:
        first.kill()
        first.wait()
    with sole_training(tmp_path):
        pass


def test_processes_that_the_training_starts_do_not_hold_the_folder_after_it(tmp_path: Path) -> None:
    with sole_training(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with sole_training(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()


def test_what_the_training_raises_passes_through(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError, match="the training's"), sole_training(tmp_path):
        raise BlockingIOError("the training's")


def test_a_file_system_without_locks_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: object) -> None:
        raise OSError("locks are not supported")

    monkeypatch.setattr("treepo.files.sole_training.fcntl.flock", without)
    with sole_training(tmp_path), sole_training(tmp_path):
        pass
