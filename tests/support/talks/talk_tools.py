"""Tools of verl's for tests: a function and a class, as a user would write them."""

import asyncio
import time
from typing import Any

from verl.tools.base_tool import BaseTool
from verl.tools.function_tool import function_tool
from verl.tools.schemas import ToolResponse


@function_tool
def add(left: int, right: int) -> str:
    """Adds two numbers.

    Args:
        left: The first.
        right: The second.
    """
    return str(left + right)


@function_tool
def fail(words: int) -> str:
    """Fails.

    Args:
        words: How much it says about it.
    """
    raise OSError("the line is dead " * words)


@function_tool
def hang(seconds: float) -> str:
    """Takes its time.

    Args:
        seconds: How much.
    """
    time.sleep(seconds)
    return "at last"


@function_tool
def draw() -> ToolResponse:
    """Draws a picture."""
    return ToolResponse(image=["a picture"])


class Counter(BaseTool):
    """Counts its calls in a conversation, and what is open of it.

    Attributes:
        open: Instances that were created and not released.
        most_open: Most of them at once.
    """

    open = 0
    most_open = 0

    async def create(self, instance_id: str | None = None, **kwargs: Any) -> tuple[str, ToolResponse]:
        Counter.open += 1
        Counter.most_open = max(Counter.most_open, Counter.open)
        return "counter", ToolResponse()

    async def execute(
        self, instance_id: str, parameters: dict[str, Any], **kwargs: Any
    ) -> tuple[ToolResponse, float, dict]:
        data = kwargs["agent_data"]
        data.extra_fields["count"] = data.extra_fields.get("count", 0) + 1
        return ToolResponse(text=f"call {data.extra_fields['count']}"), 0.5, {}

    async def release(self, instance_id: str, **kwargs: Any) -> None:
        Counter.open -= 1


class Waiter(Counter):
    """Answers after a minute."""

    async def execute(self, instance_id: str, parameters: dict[str, Any], **kwargs: Any) -> Any:
        await asyncio.sleep(60)
        return await super().execute(instance_id, parameters, **kwargs)
