"""Shows how far an evaluation is: a bar per sampling on a terminal, a line every few seconds anywhere else."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LINE_SECONDS = 5.0


class ConsoleProgress:
    """Progress on a console; a context manager.

    Args:
        console: Where it is shown.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[right]} right"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bars.add_task("", total=0, right=0, visible=False)
        self._label, self._total, self._done, self._right = "", 0, 0, 0
        self._shown = 0.0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, label: str, *, total: int, done: int) -> None:
        """A sampling begins.

        Args:
            label: Its label.
            total: Its samples.
            done: Those of them that earlier starts of the run have made.
        """
        self._label, self._total, self._done, self._right = label, total, done, 0
        self._task = self._bars.add_task(label, total=total, completed=done, right=0)
        self._line()

    def advance(self, samples: int, right: int) -> None:
        """Samples are stored; so many of them are right."""
        self._done += samples
        self._right += right
        self._bars.update(self._task, advance=samples, right=self._right)
        if self._done == self._total or time.monotonic() - self._shown >= _LINE_SECONDS:
            self._line()

    def say(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)

    def _line(self) -> None:
        if not self._console.is_terminal:
            self.say(f"evaluation: {self._label}: {self._done} of {self._total} samples, {self._right} correct")
            self._shown = time.monotonic()
