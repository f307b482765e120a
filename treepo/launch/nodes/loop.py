"""One thread that watches sockets, the output of processes, and signals."""

import selectors
import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from treepo.launch.nodes.errors import Interrupted
from treepo.processes import heeded

_TICK_SECONDS = 0.2
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Loop:
    """Turns until something has happened; a context in which signals are noted instead of ending the process."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._chores: list[Callable[[], None]] = []
        self._signal: int | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "Loop":
        """Takes the signals over, but for those that are ignored."""
        self._handlers = {number: signal.signal(number, self._note) for number in heeded(*_SIGNALS)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._selector.close()

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signal = number

    def watch(self, file: Any, ready: Callable[[], None]) -> None:
        """Calls ``ready`` when a socket or pipe can be read."""
        self._selector.register(file, selectors.EVENT_READ, ready)

    def forget(self, file: Any) -> None:
        """Watches a socket or pipe no longer; call it before that is closed."""
        self._selector.unregister(file)

    def every_turn(self, chore: Callable[[], None]) -> None:
        """Calls ``chore`` several times a second; it may raise to end the launch."""
        self._chores.append(chore)

    def until(self, done: Callable[[], bool], *, seconds: float | None, interruptible: bool = True) -> bool:
        """Turns until ``done``.

        Args:
            done: The condition.
            seconds: At most so long; None for ever.
            interruptible: Whether a signal ends it, and chores are done. Off while things are taken down.

        Returns:
            Whether the condition came in time.

        Raises:
            Interrupted: A signal came.
        """
        limit = None if seconds is None else time.monotonic() + seconds
        while not done():
            if interruptible and self._signal is not None:
                raise Interrupted(self._signal)
            if limit is not None and time.monotonic() >= limit:
                return False
            for key, _ in self._selector.select(_TICK_SECONDS):
                key.data()
            if interruptible:
                for chore in self._chores:
                    chore()
        return True
