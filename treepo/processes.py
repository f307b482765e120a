"""What every command here does with processes: ends them, is ended by signals, and continues where nobody reads."""

import ctypes
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_KILLED_SECONDS = 5.0


def adopt_orphans() -> None:
    """Makes this process the parent of every descendant whose own parent ends, so that none is lost sight of."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Has the kernel send this process a signal when the thread that started it ends.

    One system call and nothing else, so that it may run between a fork and its exec.

    Args:
        number: The signal; not SIGKILL, which leaves a process no time to end what it has started.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def end_process(process: subprocess.Popen[Any], *, ask: int, seconds: float) -> None:
    """Ends a process that still runs, and then whatever it had started.

    Args:
        process: A child of this process.
        ask: The signal that it is asked with.
        seconds: After so long it is killed.
    """
    if process.poll() is not None:
        return
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(ask)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        family += psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
    _signal(family, signal.SIGKILL, seconds=_KILLED_SECONDS)


def end_descendants(*, seconds: float) -> None:
    """Ends every process that this one has started, directly or not: first asked, then killed."""
    for number, wait in ((signal.SIGTERM, seconds), (signal.SIGKILL, _KILLED_SECONDS)):
        _signal(psutil.Process().children(recursive=True), number, seconds=wait)


def _signal(processes: Iterable[psutil.Process], number: int, *, seconds: float) -> None:
    for process in (alive := list(processes)):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    psutil.wait_procs(alive, timeout=seconds)


def heeded(*numbers: int) -> list[int]:
    """Those of some signals that this process does not ignore; ``nohup`` starts it with SIGHUP ignored."""
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Within it a scheduler's signal and a closed terminal end this process as Ctrl-C does: ``KeyboardInterrupt``."""
    numbers = heeded(signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class LastingFile(io.FileIO):
    """A file whose writes never fail: what cannot be written is lost, and whoever writes continues.

    For what a run says: a reader that has gone (``| head -1``) or a full disk is no reason to end it. Never for what it
    is run for.
    """

    def __init__(self, file: str | os.PathLike[str] | int, lost: Callable[[OSError], None] | None = None) -> None:
        """Opens it to append.

        Args:
            file: A path, or a descriptor that somebody else closes.
            lost: Called once, with the first failure.
        """
        super().__init__(file, "ab", closefd=not isinstance(file, int))
        self._lost = lost

    def write(self, data: Any, /) -> int | None:
        """Writes what can be written; says that all was."""
        try:
            return super().write(data)
        except OSError as error:
            lost, self._lost = self._lost, None
            if lost is not None:
                lost(error)
            return len(data)


def outlive_readers() -> None:
    """Lets this process continue where nobody reads its standard streams any more; to be called once, at its start."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        stream.flush()
        raw = io.BufferedWriter(LastingFile(stream.fileno()))
        setattr(sys, name, io.TextIOWrapper(raw, stream.encoding, stream.errors, line_buffering=True))
