"""How many environments of a process are open at once."""

import asyncio
from collections.abc import Awaitable, Callable


class OpenLimit:
    """Counts open environments, and closes idle ones where there would be too many.

    Whoever opens an environment enters first. Nobody enters while holding an environment that is not idle, so those at
    work always come to an end and everybody gets in.

    Attributes:
        open: Environments open now, including those that are being made.
        most_open: Most that were open at once.
    """

    def __init__(self, limit: int | None) -> None:
        """Starts the count.

        Args:
            limit: Most environments open at once, at least 1; None for no limit.
        """
        self.open = 0
        self.most_open = 0
        self._limit = limit
        # Oldest first; each with what closes it, after which it has left.
        self._idle: dict[object, Callable[[], Awaitable[None]]] = {}
        self._news = asyncio.Event()

    async def enter(self) -> None:
        """Waits until one more environment may be open, and counts it."""
        while self._limit is not None and self.open >= self._limit:
            if self._idle:
                await self._idle.pop(next(iter(self._idle)))()
            else:
                self._news.clear()
                await self._news.wait()
        self.open += 1
        self.most_open = max(self.most_open, self.open)

    def leave(self) -> None:
        """Says that an environment is closed."""
        self.open -= 1
        self._news.set()

    def idle(self, key: object, close: Callable[[], Awaitable[None]]) -> None:
        """Says that an environment waits to be used, and how it is closed if its place is needed."""
        self._idle[key] = close
        self._news.set()

    def busy(self, key: object) -> None:
        """Says that an environment is used, or closed by its owner."""
        self._idle.pop(key, None)
