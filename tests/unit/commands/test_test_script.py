"""scripts/test.sh: everything runs, and whatever fails, fails the command."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# Notes what it was asked, and fails where the test says so.
STAND_IN = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >>"$TESTED/asked"
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


def run(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TREEPO_VENV"}
    return subprocess.run(
        ["bash", "scripts/test.sh", *arguments],
        cwd=checkout,
        env={**environment, "TESTED": str(checkout), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def asked(checkout: Path) -> list[str]:
    return (checkout / "asked").read_text().splitlines()


def test_all_tests_run_once_and_those_on_the_real_stack_behind_the_others(checkout: Path) -> None:
    process = run(checkout)
    assert process.returncode == 0, process.stdout + process.stderr
    pytests = [line for line in asked(checkout) if " pytest " in line]
    assert [word for line in pytests for word in line.split() if word.startswith("tests/")] == [
        "tests/unit",
        "tests/golden",
        "tests/seams",
        "tests/contract",
        "tests/e2e",
    ]


@pytest.mark.parametrize("failing", ["ruff", "pyright", "tests/unit", "tests/contract", "tests/e2e"])
def test_whatever_fails_fails_the_command(checkout: Path, failing: str) -> None:
    process = run(checkout, FAILING=failing)
    assert process.returncode == 1, process.stdout + process.stderr
    assert f"{failing} failed" in process.stdout
    reached = any("tests/e2e" in line for line in asked(checkout))
    assert reached is failing.startswith("tests/"), "a room that fails keeps no other from running"


def test_arguments_are_handed_on_to_one_run_of_pytest(checkout: Path) -> None:
    process = run(checkout, "--all", "tests/unit", "-k", "tree")
    assert process.returncode == 0, process.stdout + process.stderr
    (line,) = (line for line in asked(checkout) if " pytest " in line)
    assert line == "python -m pytest -m nightly or not nightly tests/unit -k tree"
