"""Trees of turns in verl's agent loop: puts together who answers the turns, and what a trajectory's row says of them.

Checked against verl 0.9.1 (``ContinuousTokenBuilder.merge_context_tokens``); the seam is held by
``tests/unit/verl/rollout/test_own_environment.py``.
"""

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any

from verl.experimental.agent_loop import AgentLoopOutput

from treepo.config import BudgetConfig, FallbackConfig, TreePOConfig
from treepo.config.group import import_named
from treepo.config.policies import CutPosition, EnvironmentFork
from treepo.environment import BranchCounts, Branches, Conversation, OpenLimit, Talk, Tokenise
from treepo.rollout import SegmentEngine, TurnEngine, TurnLimits, without_forks
from treepo.tree import Trajectory
from treepo.tree.text import ends_by_text
from treepo.verl.rollout.tool_talk import ToolState, ToolTalk
from treepo.verl.rollout.tree_job import TreeJob

# Of this process, which holds one worker.
_limits: dict[int | None, OpenLimit] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """Who answers the turns of one prompt.

    Attributes:
        prompt_tokens: The prompt, with the descriptions of tools where there are any.
        talk: The answers.
        counts: What they took.
        stop_token_ids: Tokens beside the model's own that end a turn.
    """

    prompt_tokens: list[int]
    talk: Talk
    counts: BranchCounts
    stop_token_ids: Sequence[int] = ()

    def end_turns(
        self, eos_token_ids: frozenset[int], sampling_params: Mapping[str, Any]
    ) -> tuple[frozenset[int], dict[str, Any]]:
        """The tokens that end a turn, and verl's sampling parameters with those that an engine has to be told of."""
        if not self.stop_token_ids:
            return eos_token_ids, dict(sampling_params)
        told = {*(sampling_params.get("stop_token_ids") or ()), *self.stop_token_ids}
        return eos_token_ids | told, {**sampling_params, "stop_token_ids": sorted(told)}


def open_limit(options: TreePOConfig) -> OpenLimit:
    """The limit of the process."""
    return _limits.setdefault(options.environment.max_open, OpenLimit(options.environment.max_open))


def own_environment(
    row: Mapping[str, Any],
    *,
    prompt_tokens: list[int],
    options: TreePOConfig,
    multi_turn: Any,
    name: str,
    decode: Callable[[Sequence[int]], str],
    tokenise: Tokenise,
) -> Partner:
    """A user's environment as the partner of one prompt.

    Args:
        row: The prompt's row of the dataset, with ``raw_prompt``.
        prompt_tokens: The prompt's tokens.
        options: TreePO's.
        multi_turn: verl's options ``rollout.multi_turn``.
        name: The prompt, for messages.
        decode: Text of some token ids.
        tokenise: Writes messages as tokens, see :class:`treepo.environment.Conversation`.
    """
    environment = options.environment
    assert environment.name is not None, "asked for where there is one"
    branches = Branches(
        import_named(environment.name),
        row,
        name=name,
        fork=environment.fork,
        timeout=environment.timeout,
        max_steps=environment.max_steps,
        limit=open_limit(options),
    )
    talk = Conversation(
        branches,
        messages=tuple(row["raw_prompt"]),
        decode=decode,
        tokenise=tokenise,
        on_error=environment.on_error,
        max_turns=most_turns(multi_turn),
        longest_message=multi_turn.max_tool_response_length,
        truncate_side=multi_turn.tool_response_truncate_side,
    )
    return Partner(prompt_tokens=prompt_tokens, talk=talk, counts=branches.counts)


async def own_tools(loop: Any, row: Mapping[str, Any], *, options: TreePOConfig, name: str) -> Partner:
    """The tools of verl's loop as the partner of one prompt.

    Args:
        loop: verl's ``ToolAgentLoop``, with its tools.
        row: The prompt's row of the dataset, with ``raw_prompt``.
        options: TreePO's.
        name: The prompt, for messages.
    """
    talk = ToolTalk(loop, row, options=options.environment, limit=open_limit(options), name=name)
    return Partner(
        prompt_tokens=await talk.write_prompt(),
        talk=talk,
        counts=talk.counts,
        stop_token_ids=loop.tool_parser.stop_token_ids,
    )


def most_turns(multi_turn: Any) -> int | None:
    """Most turns of the model by verl's options; 0 and null are no limit there."""
    limits = []
    if multi_turn.max_assistant_turns:
        limits.append(multi_turn.max_assistant_turns)
    if multi_turn.max_user_turns:
        limits.append(multi_turn.max_user_turns + 1)
    return min(limits, default=None)


def turn_options(options: TreePOConfig, *, width: int) -> TreePOConfig:
    """The options of a tree of turns by its width; one of a single conversation neither forks nor drops any."""
    options = options.model_copy(update={"width": width})
    if width > 1:
        return without_forks(options) if options.environment.fork is EnvironmentFork.NONE else options
    alone = {
        "min_trajectory_length": None,
        "budget": BudgetConfig(),
        "fallback": FallbackConfig(cut=CutPosition.NONE),
    }
    return without_forks(options.model_copy(update=alone))


class TurnTree:
    """A tree of turns: its engine, and what is said of it when it has grown.

    Attributes:
        engine: Decodes its segments, and has its turns answered.
    """

    def __init__(
        self, job: TreeJob, partner: Partner, engine: SegmentEngine, decode: Callable[[Sequence[int]], str]
    ) -> None:
        """Puts the tree together.

        Args:
            job: The tree.
            partner: Answers its turns.
            engine: Decodes what the model writes.
            decode: Text of some token ids.
        """
        options = job.options
        self.engine = TurnEngine(
            engine,
            partner.talk,
            limits=TurnLimits(
                segment_length=options.segment_length,
                max_depth=options.max_depth,
                max_response_length=job.max_response_length,
            ),
            ends_by_text=partial(ends_by_text, options.termination, decode),
        )
        self._counts = partner.counts

    def stats(self) -> dict[str, float]:
        """What the turns took."""
        return {
            **dataclasses.asdict(self._counts),
            "calls": self.engine.calls,
            "observed_tokens": self.engine.observed_tokens,
        }

    def fields(self, trajectory: Trajectory) -> dict[str, Any]:
        """What a trajectory's ``extra_fields`` say of its turns, beside ``treepo``.

        ``turn_rewards`` has one entry per turn, None where environment or tools gave none; ``tool_rewards`` are those
        that they gave, as verl's own loop names them. What tools left in verl's ``AgentData.extra_fields`` comes along.
        """
        behind = self.engine.behind(trajectory.nodes)
        rewards = list(behind.state.turn_rewards)
        rewards += [None] * (behind.turns + bool(behind.said) - len(rewards))
        given = [reward for reward in rewards if reward is not None]
        if isinstance(behind.state, ToolState):
            data = behind.state.data
            return {**data.extra_fields, "turn_rewards": rewards, "tool_rewards": data.tool_rewards}
        return {"turn_rewards": rewards, "tool_rewards": given}


def turns_for_reward(output: AgentLoopOutput, decode: Callable[[Sequence[int]], str]) -> dict[str, Any]:
    """What a reward function is told of a conversation, in ``extra_info``.

    Args:
        output: A conversation, a tree's or one of verl's own tool loop.
        decode: Text of some token ids.

    Returns:
        ``final_turn``, the text of the model's last turn; ``turns``, their number; ``turn_rewards``, what environment
        or tools gave for each, None where nothing, or where verl's loop did not say for which.
    """
    mask = output.response_mask
    last = sum(1 for _ in takewhile(bool, reversed(mask)))
    turns = sum(written and not before for before, written in zip([0, *mask], mask, strict=False))
    return {
        "final_turn": decode(output.response_ids[len(mask) - last : len(mask)]),
        "turns": turns,
        "turn_rewards": output.extra_fields.get("turn_rewards", [None] * turns),
    }


async def messages_as_tokens(
    builder: Any,
    before: tuple[Mapping[str, Any], ...],
    added: tuple[Mapping[str, Any], ...],
    so_far: Sequence[int],
) -> tuple[list[int], int]:
    """Messages as the tokens that follow, by verl's builder, and how many of the last tokens they replace."""
    merged = await asyncio.to_thread(
        builder.merge_context_tokens,
        [dict(message) for message in before],
        [dict(message) for message in (*before, *added)],
        list(so_far),
    )
    replaced = merged.removed_prefix_token_count
    return merged.token_ids[len(so_far) - replaced :], replaced
