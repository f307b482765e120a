"""Shares the accelerators' time out among the calls that run at the same time."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """Where the clock stood when a call began."""

    wall: float
    seconds: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """What a call took.

    Attributes:
        started: Seconds since the epoch.
        seconds: Wall time.
        accelerator_seconds: Its share of the accelerators' time.
    """

    started: float
    seconds: float
    accelerator_seconds: float


class AcceleratorClock:
    """Every second of every accelerator is divided evenly among the calls that run in it.

    So the shares of all calls sum to the accelerators times the time in which at least one call ran. Time without any
    is nobody's.

    Args:
        accelerators: How many there are.
        now: Gives the time in seconds.
    """

    def __init__(self, accelerators: int, now: Callable[[], float] = time.monotonic) -> None:
        self._accelerators = accelerators
        self._now = now
        self._running = 0
        self._last = now()
        # What a call would have got that ran from the beginning.
        self._share = 0.0

    def begin(self) -> Began:
        """A call begins."""
        seconds = self._advance()
        self._running += 1
        return Began(wall=time.time(), seconds=seconds, share=self._share)

    def end(self, began: Began) -> Took:
        """A call ends."""
        seconds = self._advance()
        self._running -= 1
        return Took(started=began.wall, seconds=seconds - began.seconds, accelerator_seconds=self._share - began.share)

    def _advance(self) -> float:
        now = self._now()
        if self._running:
            self._share += (now - self._last) * self._accelerators / self._running
        self._last = now
        return now
