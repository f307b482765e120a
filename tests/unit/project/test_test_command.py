"""scripts/test.sh: whatever fails, fails the command, and nothing goes on behind it."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# Notes what it was asked; waits, or fails, where the test says so.
STAND_IN = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >>"$TESTED/asked"
for word in "$@"; do
    if [[ $word == "${SLOW:-}" ]]; then
        echo $$ >"$TESTED/slow"
        exec sleep 300
    fi
done
for word in "$(basename "$0")" "$@"; do
    if [[ $word == "${FAILING:-}" ]]; then
        echo "$word failed"
        exit 1
    fi
done
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/test.sh", tmp_path / "scripts/test.sh")
    (tmp_path / "scripts/setup.sh").write_text("")
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("python", "ruff", "pyright"):
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    return tmp_path


def start(checkout: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TREEPO_VENV"}
    return subprocess.Popen(
        ["bash", "scripts/test.sh", *arguments],
        cwd=checkout,
        env={**environment, "TESTED": str(checkout), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def asked(checkout: Path) -> list[str]:
    return (checkout / "asked").read_text().splitlines()


def test_all_tests_run_once_and_those_on_the_real_stack_are_printed_behind_the_others(checkout: Path) -> None:
    process = start(checkout)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    pytests = [line for line in asked(checkout) if " pytest " in line]
    assert sorted(word for line in pytests for word in line.split() if word.startswith("tests/")) == [
        "tests/contract",
        "tests/e2e",
        "tests/golden",
        "tests/seams",
        "tests/unit",
    ]
    assert printed.index("tests/unit") < printed.rindex("pytest tests/contract") < printed.rindex("pytest tests/e2e")


@pytest.mark.parametrize("failing", ["ruff", "pyright", "tests/unit", "tests/contract", "tests/e2e"])
def test_whatever_fails_fails_the_command(checkout: Path, failing: str) -> None:
    process = start(checkout, FAILING=failing)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1, printed
    assert f"{failing} failed" in printed


def test_the_tests_of_the_real_stack_end_with_a_command_that_is_terminated(checkout: Path) -> None:
    process = start(checkout, SLOW="tests/contract")
    deadline = time.monotonic() + 60
    while not (checkout / "slow").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    slow = int((checkout / "slow").read_text())
    process.terminate()
    process.communicate(timeout=60)
    while Path(f"/proc/{slow}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{slow}").exists()


def test_arguments_are_handed_on_to_one_run_of_pytest(checkout: Path) -> None:
    process = start(checkout, "--all", "tests/unit", "-k", "tree")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    (line,) = (line for line in asked(checkout) if " pytest " in line)
    assert line == "python -m pytest -m nightly or not nightly tests/unit -k tree"
