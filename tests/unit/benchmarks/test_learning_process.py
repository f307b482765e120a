"""The learning benchmark's processes: bounded, and ended with all they started."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from training_run import ROOT

from benchmarks.learning.process import ProcessFailed, run_bounded


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
