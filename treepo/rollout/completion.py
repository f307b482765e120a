"""Work that is done to its end although its caller is cancelled."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

Result = TypeVar("Result")


async def complete(work: Awaitable[Result]) -> Result:
    """Awaits work that must not be left half done, as the closing of an engine.

    A cancellation reaches the caller when the work is over, however often it comes before; the work never sees it.

    Raises:
        asyncio.CancelledError: The caller was cancelled meanwhile.
        BaseException: What the work raises, where the caller was not.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from task.exception()
    return task.result()
