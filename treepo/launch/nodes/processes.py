"""Processes that end with the launcher, and only they."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from treepo.launch.nodes.loop import Loop
from treepo.launch.nodes.screen import Screen
from treepo.processes import LastingFile, end_process, end_with_parent


def _show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


class Child:
    """A process in a group of its own, its output appended to a file and, as far as a screen chooses it, shown.

    A terminal's Ctrl-C reaches the launcher alone, which then ends its children in order.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        loop: Loop,
        log: Path,
        screen: Screen | None = None,
        environment: Mapping[str, str],
    ) -> None:
        self._loop, self._screen = loop, screen

        def lost(error: OSError) -> None:
            sys.stderr.write(f"warning: {log}: {error.strerror}; lines are lost\n")

        self._log = LastingFile(log, lost)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            process_group=0,
            # The parent is the thread that forks: the launcher's main one.
            preexec_fn=end_with_parent,
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
        if self._screen is not None:
            _show(self._screen.choose(data))

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._loop.forget(self._output)
            self._output.close()
            self._log.close()
            if self._screen is not None:
                _show(self._screen.rest())

    @property
    def status(self) -> int | None:
        """The exit status as a shell gives it; None while it runs."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    @property
    def ended(self) -> bool:
        """Whether it has ended and all it wrote has been read."""
        return self.status is not None and not self._open

    def end(self, *, seconds: float) -> None:
        """Tells the process to end, and kills it with all that it has started if that takes longer than ``seconds``."""
        if self.status is None:
            # Not SIGINT, which what a script starts with `&` ignores.
            self._process.send_signal(signal.SIGTERM)
        if not self._loop.until(lambda: self.status is not None, seconds=seconds, interruptible=False):
            end_process(self._process, ask=signal.SIGKILL, seconds=seconds)
        # What it left unread; a grandchild that still holds the pipe is not waited for.
        self._loop.until(lambda: not self._open, seconds=1.0, interruptible=False)
        self._close()
