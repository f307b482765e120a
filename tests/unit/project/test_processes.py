"""Processes: ended with all they started, ended by signals that are not ignored, and going on unread."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from training_run import ROOT

from treepo.processes import LastingFile, end_process, heeded, signals_interrupt

OUTER = (
    "import signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, {handler})\n"
    "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)\n"
    "print(inner.pid, flush=True)\n"
    "time.sleep(60)\n"
)


@pytest.mark.parametrize(
    ("handler", "status"),
    [("signal.SIG_IGN", -signal.SIGKILL), ("signal.SIG_DFL", -signal.SIGTERM), ("lambda *_: sys.exit(3)", 3)],
)
def test_a_process_is_ended_with_all_that_it_started(handler: str, status: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", OUTER.format(handler=handler)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    inner = psutil.Process(int(process.stdout.readline()))
    end_process(process, ask=signal.SIGTERM, seconds=1.0)
    assert process.returncode == status
    assert psutil.wait_procs([inner], timeout=5)[1] == []


def test_a_process_that_has_ended_is_left_alone() -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(5)"])
    process.wait()
    end_process(process, ask=signal.SIGTERM, seconds=1.0)
    assert process.returncode == 5


@pytest.mark.usefixtures("hangup_is_heard")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts_and_what_was_set_before_comes_back(number: signal.Signals) -> None:
    def handler(*_: object) -> None:
        raise AssertionError("not within")

    before = signal.signal(number, handler)
    try:
        with pytest.raises(KeyboardInterrupt), signals_interrupt():
            signal.raise_signal(number)
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert heeded(signal.SIGTERM, signal.SIGHUP) == [signal.SIGTERM]
        with signals_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_file_on_a_full_disk_loses_what_is_written_and_says_so_once() -> None:
    errors: list[OSError] = []
    with LastingFile("/dev/full", errors.append) as file:
        assert [file.write(b"one"), file.write(b"second")] == [3, 6]
    assert [error.strerror for error in errors] == ["No space left on device"]


def test_a_file_is_appended_to(tmp_path: Path) -> None:
    for word in (b"first\n", b"second\n"):
        with LastingFile(tmp_path / "log") as file:
            file.write(word)
    assert (tmp_path / "log").read_bytes() == b"first\nsecond\n"


TALKS = (
    "import sys, time\n"
    "from treepo.processes import outlive_readers\n"
    "outlive_readers()\n"
    "for number in range(3):\n"
    "    print('line', number)\n"
    "    sys.stderr.write('word\\n')\n"
    "    time.sleep(0.3)\n"
    "open(sys.argv[1], 'w').write('done')\n"
    "raise SystemExit(4)\n"
)


@pytest.mark.parametrize("shell", ['"$@" | head -1', '"$@" >/dev/full', '"$@" 2>&1 | head -1'])
def test_a_process_whose_output_nobody_takes_continues_and_keeps_its_status(shell: str, tmp_path: Path) -> None:
    done = tmp_path / "done"
    found = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {shell}", "-", sys.executable, "-c", TALKS, str(done)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.read_text(), found.returncode) == ("done", 4)
    assert found.stdout == ("" if "full" in shell else "line 0\n")
    assert found.stderr == ("" if "2>&1" in shell else "word\n" * 3)
