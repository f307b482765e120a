"""scripts/test.sh: whatever fails, fails the command, and nothing goes on behind it."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

# Notes what it was asked. As the test says, it works until it is interrupted and ends as pytest does, or it fails.
STAND_IN = """#!/usr/bin/env bash
echo "$(basename "$0") $*" >>"$TESTED/asked"
for word in "$@"; do
    if [[ $word == "${SLOW:-}" ]]; then
        trap 'echo "$word interrupted"; kill $!; exit 2' INT
        sleep 300 &
        echo $$ >"$TESTED/slow.new"
        mv "$TESTED/slow.new" "$TESTED/slow"
        wait
    fi
done
for word in "$(basename "$0")" "$@"; do
    if [[ $word == "${FAILING:-}" ]]; then
        while [[ -n ${SLOW:-} && ! -e $TESTED/slow ]]; do sleep 0.05; done
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


def hear_ctrl_c() -> None:
    """As in a terminal, also where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(checkout: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TREEPO_VENV"}
    return subprocess.Popen(
        ["bash", "scripts/test.sh", *arguments],
        cwd=checkout,
        env={**environment, "TESTED": str(checkout), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
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


def slow_process(checkout: Path) -> int:
    deadline = time.monotonic() + 60
    while not (checkout / "slow").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return int((checkout / "slow").read_text())


def test_the_tests_of_the_real_stack_end_with_a_command_that_is_terminated(checkout: Path) -> None:
    process = start(checkout, SLOW="tests/contract")
    slow = slow_process(checkout)
    while not any("tests/unit" in line for line in asked(checkout)):
        time.sleep(0.05)
    process.terminate()
    printed, _ = process.communicate(timeout=60)
    assert "tests/contract interrupted" in printed
    assert not Path(f"/proc/{slow}").exists()
    assert not any("tests/e2e" in line for line in asked(checkout))


@pytest.mark.parametrize("slow", ["tests/contract", "tests/unit"])
def test_ctrl_c_ends_all_of_it(checkout: Path, slow: str) -> None:
    process = start(checkout, SLOW=slow)
    number = slow_process(checkout)
    # As a terminal does: to the group in the foreground, which the tests on the real stack are not in.
    os.killpg(process.pid, signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert f"{slow} interrupted" in printed
    assert not Path(f"/proc/{number}").exists()


def test_tests_that_were_under_way_are_printed_where_an_earlier_step_fails(checkout: Path) -> None:
    process = start(checkout, SLOW="tests/contract", FAILING="pyright")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 1, printed
    assert printed.index("pyright failed") < printed.index("pytest tests/contract")
    assert not any("tests/e2e" in line for line in asked(checkout))


def test_arguments_are_handed_on_to_one_run_of_pytest(checkout: Path) -> None:
    process = start(checkout, "--all", "tests/unit", "-k", "tree")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0, printed
    (line,) = (line for line in asked(checkout) if " pytest " in line)
    assert line == "python -m pytest -m nightly or not nightly tests/unit -k tree"
