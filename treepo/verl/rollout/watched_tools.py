"""verl's tools while they answer one turn: timed, counted, limited, and their failures noted.

verl turns whatever a tool raises into a message to the model, as long as it may be.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from verl.tools.function_tool import FunctionTool, normalize_function_tool_return

from treepo.environment import BranchCounts, OpenLimit, cut_text
from treepo.environment.calls import call

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class ToolWatch:
    """What the tools of one turn are held to, and what came of them.

    Attributes:
        counts: Of the tree.
        limit: Counts the calls of the process that run at once.
        timeout: Seconds for one call.
        longest: Characters of a failure that the model reads.
        side: Where a longer one is cut.
        prompt: The prompt, for messages.
        errors: Failures, a line each.
        pictures: Tools that answered with a picture or a film.
    """

    counts: BranchCounts
    limit: OpenLimit
    timeout: float
    longest: int
    side: str
    prompt: str
    errors: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)

    async def run(self, name: str, function: Callable[..., Any]) -> Any:
        """Calls a tool.

        Raises:
            RuntimeError: It failed or took too long; verl hands the text on to the model.
        """
        begun = time.monotonic()
        try:
            result = await call(function, timeout=self.timeout)
        except Exception as error:
            raise self.failure(name, error) from error
        finally:
            seconds = time.monotonic() - begun
            self.counts.seconds += seconds
            self.counts.longest = max(self.counts.longest, seconds)
        return result

    async def end(self, name: str, function: Callable[..., Any]) -> None:
        """Releases a tool; one that fails at it is reported and not waited for."""
        try:
            await call(function, timeout=self.timeout)
        except Exception as error:
            self.counts.close_failed += 1
            _log.warning("prompt %s: tool %s could not be released: %s", self.prompt, name, self._describe(error))

    def look_at(self, name: str, response: Any) -> None:
        """Notes an answer that is not text, and keeps verl from it.

        Raises:
            TypeError: It is one.
        """
        if getattr(response, "image", None) or getattr(response, "video", None):
            self.pictures.append(name)
            raise TypeError("no text")

    def refuse_pictures(self) -> None:
        """Refuses what trees cannot hold.

        Raises:
            RuntimeError: A tool answered with a picture or a film.
        """
        if self.pictures:
            raise RuntimeError(
                f"tool {self.pictures[0]} answered with a picture or a film: trees of turns read text alone; let it "
                "answer with text"
            )

    def failure(self, name: str, error: Exception) -> RuntimeError:
        """Counts a failure and notes it; what is returned has the text that the model may read."""
        self.counts.failed += 1
        self.counts.timed_out += isinstance(error, TimeoutError)
        self.errors.append(f"{name}: {cut_text(self._describe(error), self.longest, self.side)}")
        return RuntimeError(cut_text(str(error) or self._describe(error), self.longest, self.side))

    def _describe(self, error: Exception) -> str:
        if isinstance(error, TimeoutError) and not str(error):
            return f"no answer within {self.timeout:g} s (treepo.environment.timeout)"
        return f"{type(error).__name__}: {' '.join(str(error).split())}"


def watched(tool: Any, watch: ToolWatch) -> Any:
    """The tool, as verl's loop calls it, under watch.

    Args:
        tool: A ``FunctionTool`` or a ``BaseTool`` of verl's.
        watch: What it is held to.
    """
    return _watched_function(tool, watch) if isinstance(tool, FunctionTool) else _WatchedTool(tool, watch)


def _watched_function(tool: FunctionTool, watch: ToolWatch) -> FunctionTool:
    async def run(**parameters: Any) -> Any:
        await watch.limit.enter()
        try:
            result = await watch.run(tool.name, partial(tool.fn, **parameters))
        finally:
            watch.limit.leave()
        try:
            response = normalize_function_tool_return(result)
        except (TypeError, ValueError) as error:
            raise watch.failure(tool.name, error) from error
        watch.look_at(tool.name, response[0])
        return response

    return FunctionTool(name=tool.name, fn=run, tool_schema=tool.tool_schema, is_async=True)


class _WatchedTool:
    """A ``BaseTool`` under watch: open from its creation to its release."""

    def __init__(self, tool: Any, watch: ToolWatch) -> None:
        self.name = tool.name
        self.tool_schema = tool.tool_schema
        self._tool = tool
        self._watch = watch

    async def create(self, *arguments: Any, **options: Any) -> Any:
        await self._watch.limit.enter()
        try:
            created = await self._watch.run(self.name, partial(self._tool.create, *arguments, **options))
            if not created[0]:
                # verl releases nothing that has no id.
                raise self._watch.failure(self.name, ValueError("create gave no instance id"))
        except BaseException:
            self._watch.limit.leave()
            raise
        return created

    async def execute(self, *arguments: Any, **options: Any) -> Any:
        result = await self._watch.run(self.name, partial(self._tool.execute, *arguments, **options))
        self._watch.look_at(self.name, result[0])
        return result

    async def release(self, *arguments: Any, **options: Any) -> None:
        try:
            await self._watch.end(self.name, partial(self._tool.release, *arguments, **options))
        finally:
            self._watch.limit.leave()
