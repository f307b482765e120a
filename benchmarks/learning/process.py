"""Runs a command with its output in a file and a limit on its time, and leaves no process behind."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 60.0
_TAIL_BYTES = 2000


class ProcessFailed(RuntimeError):
    """The command ended badly or took too long; the text ends with its last lines."""


def run_bounded(command: Sequence[str], log: Path, *, limit: float) -> float:
    """Runs a command to its end.

    Args:
        command: The program and its arguments.
        log: Where everything it prints is written.
        limit: Seconds it may take.

    Returns:
        The seconds it took.

    Raises:
        ProcessFailed: It ended with another status than 0, or was ended after ``limit``.
        KeyboardInterrupt: This process was interrupted; the command has ended before.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with log.open("wb") as output:
        # Its own session, so that Ctrl-C reaches it once, through this process.
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            raise ProcessFailed(f"not done after {limit:.0f} s; {_tail(log)}") from None
        finally:
            _stop(process)
    if status != 0:
        raise ProcessFailed(f"ended with status {status}; {_tail(log)}")
    return time.monotonic() - start


def end_with_parent() -> None:
    """Has the kernel interrupt this process when the one that started it dies: no training goes on unwatched."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:
        raise KeyboardInterrupt


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends what still runs: as Ctrl-C would, then by force, with every process it has started."""
    if process.poll() is not None:
        return
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in family:
        if child.is_running():
            child.kill()
    psutil.wait_procs(family, timeout=_STOP_SECONDS)


def _tail(log: Path) -> str:
    text = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
    return f"everything it printed: {log}; the last of it:\n{text}"
