"""An event loop whose time is counted and not waited for."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Selector(selectors.SelectSelector):
    """Gives up a wait at once and notes how long it would have been."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout:
            self.now += timeout
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._counted = _Selector()
        super().__init__(self._counted)

    def time(self) -> float:
        return self._counted.now


def run_counted(work: Coroutine[Any, Any, Result]) -> tuple[Result, float]:
    """Runs work without threads to its end.

    Returns:
        What it gave, and the seconds that it slept.
    """
    loop = _Loop()
    try:
        return loop.run_until_complete(work), loop.time()
    finally:
        loop.close()
