"""Trees of turns with verl's own tools, which stay as they are: verl's tool agent loop reads and answers the turns.

The loop keeps a conversation in its ``AgentData``. A turn is answered on a copy, so that a path can fork and be cut
behind any turn; a ``BaseTool`` of verl's lives for one call and has no state that would need more.

Checked against verl 0.9.1 (``ToolAgentLoop``); ``tests/unit/verl/rollout/test_tool_talk.py`` holds the seam.
"""

import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.tool_agent_loop import AgentData, AgentState

from treepo.config import EnvironmentConfig
from treepo.config.policies import EnvironmentErrors
from treepo.environment import Answer, BranchCounts, EndedTurn, OpenLimit
from treepo.tree import FinishReason
from treepo.verl.rollout.watched_tools import ToolWatch, watched

_Rewards = tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolState:
    """The conversation behind a turn.

    Attributes:
        data: verl's own record of it; never changed.
        turn_rewards: Sum of the rewards of each turn's tools, shape [turns]; None where no tool was called.
    """

    data: AgentData
    turn_rewards: _Rewards = ()


class ToolTalk:
    """Answers the turns of one tree with verl's tools; see :class:`treepo.environment.Talk`.

    Attributes:
        counts: What the tools did; a step is a turn that they answered.
    """

    def __init__(
        self, loop: Any, row: Mapping[str, Any], *, options: EnvironmentConfig, limit: OpenLimit, name: str
    ) -> None:
        """Prepares the conversation of one prompt.

        Args:
            loop: verl's ``ToolAgentLoop``, with its tools.
            row: The prompt's row of the dataset.
            options: Of ``treepo.environment``.
            limit: Counts the calls of the process that run at once.
            name: The prompt, for messages.
        """
        self.counts = BranchCounts()
        self._loop = loop
        self._options = options
        self._limit = limit
        self._name = name
        self._begun = 0
        self._root = ToolState(data=_agent_data(loop, row))

    @property
    def root(self) -> ToolState:
        """The state before the first turn."""
        return self._root

    async def write_prompt(self) -> list[int]:
        """The prompt's tokens, with the tools' descriptions."""
        data = _copy(self._root.data)
        await self._loop._handle_pending_state(data, {})
        return data.prompt_ids

    async def answer(self, turn: EndedTurn) -> Answer:
        """Answers a turn: calls its tools, and without any the conversation has ended.

        Raises:
            RuntimeError: A tool failed, and ``on_error`` is ``fail``; or it answered with something other than text.
        """
        before: ToolState = turn.state
        data = _copy(before.data)
        data.assistant_turns += 1
        data.response_ids = list(turn.tokens)
        tools: dict[str, Any] = data._active_tools  # pyright: ignore[reportAttributeAccessIssue]
        content, data.tool_calls = await self._loop.tool_parser.extract_tool_calls(
            data.response_ids, [tool.tool_schema for tool in tools.values()]
        )
        data.messages.append(self._loop._build_assistant_message(content, data))
        after = ToolState(data=data, turn_rewards=(*before.turn_rewards, None))
        if not data.tool_calls:
            return Answer(state=after, ended_by=FinishReason.EOS)
        if not turn.may_continue:
            return Answer(state=after)
        if not self._turn_left(data):
            return Answer(state=after, ended_by=FinishReason.MAX_TURNS)
        return await self._call_tools(turn, after)

    async def close(self) -> None:
        """Nothing to end: a tool lives for one call."""

    def _turn_left(self, data: AgentData) -> bool:
        loop, most = self._loop, self._options.max_steps
        if loop.max_assistant_turns and data.assistant_turns >= loop.max_assistant_turns:
            return False
        if loop.max_user_turns and data.user_turns >= loop.max_user_turns:
            return False
        return most is None or self._begun < most

    async def _call_tools(self, turn: EndedTurn, after: ToolState) -> Answer:
        self._begun += 1
        data, rewards = after.data, len(after.data.tool_rewards)
        data.prompt_ids = [*turn.prefix, *turn.tokens]
        # By what is left of it one sees how many of the turn's last tokens verl's builder takes away.
        data.response_mask = [1] * len(turn.tokens)
        watch = ToolWatch(
            counts=self.counts,
            limit=self._limit,
            timeout=self._options.timeout,
            longest=self._loop.max_tool_response_length,
            side=self._loop.tool_response_truncate_side,
            prompt=self._name,
        )
        tools: dict[str, Any] = data._active_tools  # pyright: ignore[reportAttributeAccessIssue]
        data._active_tools = {name: watched(tool, watch) for name, tool in tools.items()}  # pyright: ignore[reportAttributeAccessIssue]
        try:
            outcome = await self._loop._handle_processing_tools_state(data)
        finally:
            data._active_tools = tools  # pyright: ignore[reportAttributeAccessIssue]
        watch.refuse_pictures()
        earned = data.tool_rewards[rewards:]
        after = dataclasses.replace(
            after, turn_rewards=(*after.turn_rewards[:-1], float(sum(earned)) if earned else None)
        )
        if watch.errors and self._options.on_error is EnvironmentErrors.FAIL:
            raise RuntimeError(f"turn {turn.number}: a tool failed: {watch.errors[0]}")
        if watch.errors and self._options.on_error is EnvironmentErrors.END:
            return Answer(state=after, ended_by=FinishReason.FAILED)
        self.counts.steps += 1
        if outcome is AgentState.TERMINATED:
            return Answer(state=after, ended_by=FinishReason.MAX_TOKENS)
        kept = sum(data.response_mask)
        observation = data.prompt_ids[len(turn.prefix) + kept :]
        data.prompt_ids, data.response_mask = [], []
        return Answer(state=after, tokens=observation, replaced=len(turn.tokens) - kept)


def _agent_data(loop: Any, row: Mapping[str, Any]) -> AgentData:
    """The conversation as verl's loop begins it for a prompt without pictures."""
    data = AgentData(
        messages=list(row["raw_prompt"]),
        image_data=None,  # pyright: ignore[reportArgumentType]
        video_data=None,  # pyright: ignore[reportArgumentType]
        audio_data=None,
        mm_processor_kwargs=None,
        metrics={},
        request_id=uuid4().hex,
        tools_kwargs=row.get("tools_kwargs", {}),
    )
    chosen = (row.get("extra_info") or {}).get("tool_selection")
    tools, schemas = loop.tools, loop.tool_schemas
    if chosen and tools:
        tools = {name: tools[name] for name in chosen if name in tools}
        schemas = [tool.tool_schema.model_dump(exclude_unset=True, exclude_none=True) for tool in tools.values()]
    data._active_tools = tools  # pyright: ignore[reportAttributeAccessIssue]
    data._active_tool_schemas = schemas  # pyright: ignore[reportAttributeAccessIssue]
    return data


def _copy(data: AgentData) -> AgentData:
    """The same conversation, to be continued by itself."""
    other = copy.copy(data)
    other.messages = list(data.messages)
    other.tool_rewards = list(data.tool_rewards)
    other.turn_scores = list(data.turn_scores)
    other.extra_fields = copy.deepcopy(data.extra_fields)
    other.metrics = {}
    other.request_id = uuid4().hex
    return other
