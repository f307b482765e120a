"""Calling an environment: coroutines as they are, anything else in a thread."""

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any


async def call(
    function: Callable[..., Any], *arguments: Any, timeout: float, late: Callable[[Any], None] | None = None
) -> Any:
    """Calls a method of an environment.

    A plain function runs in a thread of its own: one that never returns then costs that thread, and neither the threads
    of others nor the end of the process.

    Args:
        function: What to call.
        *arguments: Its arguments.
        timeout: Seconds after which it is given up.
        late: Takes what a thread returns after it was given up.

    Raises:
        TimeoutError: It took longer.
        Exception: Whatever the function raises.
    """
    async with asyncio.timeout(timeout):
        if inspect.iscoroutinefunction(function):
            return await function(*arguments)
        result = await _in_thread(function, *arguments, late=late)
        return await result if inspect.isawaitable(result) else result


def _in_thread(
    function: Callable[..., Any], *arguments: Any, late: Callable[[Any], None] | None
) -> asyncio.Future[Any]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():
            if late is not None and error is None:
                late(result)
            return
        if error is None:
            future.set_result(result)
        elif isinstance(error, Exception) and not isinstance(error, StopIteration):
            future.set_exception(error)
        else:
            # SystemExit and its like end the thread that raised them, not the process.
            future.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))

    def run() -> None:
        try:
            outcome = (function(*arguments), None)
        except BaseException as error:
            outcome = (None, error)
        try:
            loop.call_soon_threadsafe(settle, *outcome)
        except RuntimeError:
            # The loop was closed meanwhile: nobody waits any more.
            return

    threading.Thread(target=run, name="treepo-environment", daemon=True).start()
    return future
