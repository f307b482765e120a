"""The learning benchmark's processes: bounded, ended with all they started, one training per machine."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from training_run import ROOT

from benchmarks.learning import train
from benchmarks.learning.process import ProcessFailed, run_bounded
from treepo.config import ConfigError


def test_a_command_that_fails_shows_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match="ended with status 3") as failed:
        run_bounded([sys.executable, "-c", "print('the cause'); raise SystemExit(3)"], tmp_path / "log", limit=30)
    assert str(failed.value).endswith("the cause\n")


def test_a_command_that_takes_too_long_is_ended_with_all_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    start = time.monotonic()
    with pytest.raises(ProcessFailed, match="not done after 3 s"):
        run_bounded([sys.executable, "-c", code], tmp_path / "log", limit=3)
    assert time.monotonic() - start < 30
    pid = int((tmp_path / "log").read_text().split()[0])
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_no_training_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    starts = (
        "import sys\n"
        "from pathlib import Path\n"
        "from benchmarks.learning.process import run_bounded\n"
        "trains = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        f"run_bounded([sys.executable, '-c', trains], Path({str(tmp_path / 'log')!r}), limit=60)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", starts], cwd=ROOT)
    log, limit = tmp_path / "log", time.monotonic() + 30
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < limit, "the training has started"
        time.sleep(0.05)
    child = psutil.Process(int(log.read_text()))
    starter.kill()
    starter.wait()
    _, alive = psutil.wait_procs([child], timeout=20)
    assert alive == []


def test_a_machine_that_is_taken_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = iter([True, True, False])

    @contextmanager
    def lock() -> Iterator[None]:
        if next(refusals):
            raise ConfigError("taken")
        yield

    monkeypatch.setattr(train, "sole_private_cluster", lock)
    with train.sole_cluster_when_free(limit=30, poll=0.01):
        assert list(refusals) == []


def test_a_machine_that_stays_taken_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def lock() -> Iterator[None]:
        raise ConfigError("taken")
        yield

    monkeypatch.setattr(train, "sole_private_cluster", lock)
    with pytest.raises(ConfigError, match="taken"), train.sole_cluster_when_free(limit=0.05, poll=0.01):
        pass
