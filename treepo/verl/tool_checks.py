"""What of verl's tools can be looked at before any process starts: the same files, loaded by verl's own loader."""

import ast
import inspect
import textwrap
from typing import Any

from treepo.config.suggestion import suggestion

_MULTI_TURN = "actor_rollout_ref.rollout.multi_turn"


def tool_problem(multi_turn: Any) -> str | None:
    """What is wrong with verl's options of its tools.

    Args:
        multi_turn: The options, ``actor_rollout_ref.rollout.multi_turn``.

    Returns:
        A line that names the option and the remedy; None where verl's agent loop can use them.
    """
    from verl.experimental.agent_loop.tool_parser import ToolParser
    from verl.tools.tool_registry import load_all_tools
    from verl.utils.import_utils import resolve_config_path

    parsers = sorted(ToolParser._registry)
    if multi_turn.format not in parsers:
        remedy = suggestion(str(multi_turn.format), parsers, otherwise="verl knows ")
        return f"{_MULTI_TURN}.format={multi_turn.format} is refused: verl has no such parser of tool calls; {remedy}"
    paths = {name: multi_turn[name] for name in ("tool_config_path", "function_tool_path")}
    if not any(paths.values()):
        return (
            f"{_MULTI_TURN}.tool_config_path and .function_tool_path are empty: the agent loop tool_agent has no tool "
            "to call; name a file of tools, or set actor_rollout_ref.rollout.agent.default_agent_loop=single_turn_agent"
        )
    given = ", ".join(f"{_MULTI_TURN}.{name}={path}" for name, path in paths.items() if path)
    try:
        tools = load_all_tools(**{name: resolve_config_path(path) if path else None for name, path in paths.items()})
    except Exception as error:
        # A user's module may raise anything while it is imported.
        return f"{given} is refused: {type(error).__name__}: {' '.join(str(error).split())}"
    if not tools:
        return f"{given} is refused: no tool is declared there; decorate a function with verl's @function_tool"
    for tool in tools:
        if _shows_pictures(tool):
            return (
                f"{given} is refused: tool {tool.name} answers with a picture or a film, and trees of turns read text "
                "alone; let it answer with text, or leave it out of the file"
            )
    return None


def _shows_pictures(tool: Any) -> bool:
    """Whether a tool's source gives a ``ToolResponse`` an image or a video.

    What its source does not show fails at the first such answer, see
    :class:`treepo.verl.rollout.watched_tools.ToolWatch`.
    """
    from verl.tools.base_tool import BaseTool
    from verl.tools.function_tool import FunctionTool

    if isinstance(tool, FunctionTool):
        written: list[Any] = [tool.fn]
    else:
        written = [kind for kind in type(tool).__mro__ if kind is not BaseTool and issubclass(kind, BaseTool)]
    return any(_makes_picture(source) for source in map(_source, written))


def _source(written: Any) -> ast.Module:
    """What a function or a class is written as; empty where that is nowhere or no whole statement, as for a lambda."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(written)))
    except (OSError, TypeError, SyntaxError):
        return ast.Module(body=[], type_ignores=[])


def _makes_picture(source: ast.Module) -> bool:
    calls = (node for node in ast.walk(source) if isinstance(node, ast.Call))
    return any(
        given.arg in ("image", "video") and not (isinstance(given.value, ast.Constant) and given.value.value is None)
        for call in calls
        if "ToolResponse" in (getattr(call.func, "id", None), getattr(call.func, "attr", None))
        for given in call.keywords
    )
