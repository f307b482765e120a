"""Processes that end with the launcher, and only they."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import psutil

from treepo.launch.loop import Loop

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Makes this process the parent of every descendant whose own parent ends, so that none is lost sight of."""
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants(*, seconds: float) -> None:
    """Ends every process that this one has started, directly or not: first asked, then killed."""
    for ask, wait in ((psutil.Process.terminate, seconds), (psutil.Process.kill, 5.0)):
        alive = psutil.Process().children(recursive=True)
        for process in alive:
            try:
                ask(process)
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(alive, timeout=wait)


def _end_with_parent() -> None:
    # SIGTERM, not SIGKILL: Ray's and the trainer's processes then end theirs. The parent is the thread that forks, so
    # it must be the launcher's main one; and other threads' locks are as they were: a system call, and no more.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class Child:
    """A process in a group of its own, its output appended to a file and, on request, shown.

    A terminal's Ctrl-C reaches the launcher alone, which then ends its children in order.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        loop: Loop,
        log: Path,
        show: bool = False,
        environment: Mapping[str, str],
    ) -> None:
        self._loop, self._show = loop, show
        self._log: BinaryIO = log.open("ab", buffering=0)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            process_group=0,
            preexec_fn=_end_with_parent,
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self._open = True
        loop.watch(self._output, self._read)

    def _read(self) -> None:
        data = os.read(self._output.fileno(), 1 << 16)
        if not data:
            self._close()
            return
        self._log.write(data)
        if self._show:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._loop.forget(self._output)
            self._output.close()
            self._log.close()

    @property
    def status(self) -> int | None:
        """The exit status as a shell gives it; None while it runs."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    @property
    def ended(self) -> bool:
        """Whether it has ended and all it wrote has been read."""
        return self.status is not None and not self._open

    def end(self, number: int, *, seconds: float) -> None:
        """Sends a signal to the process, and kills its group if it goes on for longer than ``seconds``."""
        if self.status is None:
            self._process.send_signal(number)
        if not self._loop.until(lambda: self.status is not None, seconds=seconds, interruptible=False):
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        # What it left unread; a grandchild that still holds the pipe is not waited for.
        self._loop.until(lambda: not self._open, seconds=1.0, interruptible=False)
        self._close()
