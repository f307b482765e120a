"""Runs a command with its output in a file and a limit on its time, and leaves no process behind."""

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from treepo.processes import end_process, end_with_parent

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
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=end_with_parent
        )
        try:
            status = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            raise ProcessFailed(f"not done after {limit:.0f} s; {_tail(log)}") from None
        finally:
            end_process(process, ask=signal.SIGTERM, seconds=_STOP_SECONDS)
    if status != 0:
        raise ProcessFailed(f"ended with status {status}; {_tail(log)}")
    return time.monotonic() - start


def _tail(log: Path) -> str:
    text = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
    return f"everything it printed: {log}; the last of it:\n{text}"
