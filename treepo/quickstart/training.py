"""Runs a training or an evaluation as a process: output to a file, steps to the screen, its end under control."""

import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import IO

from rich.console import Console

from treepo.processes import LastingFile, end_process, signals_interrupt

_STEP = re.compile(r"\bstep:(?P<step>\d+) - (?P<metrics>.*)")
_METRIC = r"(?:^| - ){name}:(?:np\.float\d+\()?(?P<value>-?[\d.e+-]+)"
_SHOWN = (
    ("held-out accuracy", r"val-core/[^ ]+/acc/mean@\d+", ".1%"),
    ("reward", "critic/score/mean", "+.3f"),
    ("generated/in trajectories", "treepo/tokens/sharing_ratio", ".3f"),
    ("seconds", "timing_s/step", ".1f"),
)
_PASSED_ON = ("evaluation: ", "warning: ", "error: ", "interrupted; ", "nothing left ")
_HEARTBEAT_SECONDS = 10.0
_STOP_SECONDS = 60.0
_LAST_LINES = 30


class TrainingError(RuntimeError):
    """A training, or its evaluation, that failed; the text is one line with its status and its log."""


def run_training(command: Sequence[str], log_path: Path, *, console: Console, what: str = "training") -> None:
    """Runs a command to its end.

    Args:
        command: The job with its arguments.
        log_path: Where everything it prints is appended.
        console: Shown the steps, the warnings, and every few seconds that time passes.
        what: What the command is, for messages.

    Raises:
        TrainingError: It ended with another status than 0; its last lines were shown.
        KeyboardInterrupt: This process was interrupted or told to end; the training has ended before.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with LastingFile(log_path) as log:
        # Its own session, so that Ctrl-C reaches it once, through this process.
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            with signals_interrupt():
                last = _follow(process.stdout, log, console)
                status = process.wait()
        finally:
            end_process(process, ask=signal.SIGTERM, seconds=_STOP_SECONDS)
    if status != 0:
        console.print("".join(last))
        raise TrainingError(f"{what} ended with status {status}; everything it printed: {log_path}")


def _follow(output: IO[str], log: LastingFile, console: Console) -> list[str]:
    """Copies the output to the log and shows what matters; returns the last lines."""
    lines: Queue[str | None] = Queue()

    def read() -> None:
        try:
            for line in output:
                lines.put(line)
        finally:
            lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    last: deque[str] = deque(maxlen=_LAST_LINES)
    start = shown = time.monotonic()
    while True:
        try:
            line = lines.get(timeout=1.0)
        except Empty:
            line = ""
        if line is None:
            return list(last)
        if line:
            log.write(line.encode())
            last.append(line)
        news = line.rstrip() if line.startswith(_PASSED_ON) else step_line(line)
        now = time.monotonic()
        if news is not None:
            console.print(f"      {news}")
            shown = now
        elif now - shown >= _HEARTBEAT_SECONDS:
            console.print(f"      ... {now - start:.0f} s")
            shown = now


def step_line(line: str) -> str | None:
    """A step of verl's console logger, in short; None for any other line."""
    found = _STEP.search(line)
    if found is None:
        return None
    parts = [f"step {found['step']}"]
    for label, name, form in _SHOWN:
        value = re.search(_METRIC.format(name=name), found["metrics"])
        if value is not None:
            parts.append(f"{label} {float(value['value']):{form}}")
    return "  ".join(parts)
