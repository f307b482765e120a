"""One step of every arm: trees, independent talks by our driver, and the loop that verl runs per talk."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.turns.clock import run_counted
from benchmarks.turns.model import (
    END,
    OBSERVATION_TOKENS,
    OBSERVED,
    PROMPT_TOKENS,
    ChanceEnvironment,
    Server,
    Tool,
    TurnModel,
    prompt_tokens,
    turn_tokens,
)
from treepo.config import TreePOConfig, load_config
from treepo.config.policies import EnvironmentErrors, EnvironmentFork
from treepo.environment import Branches, Conversation, OpenLimit
from treepo.rollout import TurnEngine, TurnLimits, grow_tree, without_forks
from treepo.tree import TreeSampler
from treepo.tree.text import ends_by_text

WIDTH = 8
VERL = "verl's loop"
INDEPENDENT = "fork=none"
ROOM = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step took.

    Attributes:
        calls: Turns that the model was asked for.
        steps: Answers of the environment.
        written: Tokens that the model wrote.
        computed: Prompt tokens that no cache held.
        turns: Turns of all trajectories.
        length: Tokens of all trajectories, observations included.
        trajectories: Their number.
        seconds: Time on the modelled server.
    """

    calls: int
    steps: int
    written: int
    computed: int
    turns: int
    length: int
    trajectories: int
    seconds: float


def measure(arm: str, *, prompts: int, depth: int, tool: Tool, seed: int, run_ahead: bool = True) -> Step:
    """One step of `prompts` prompts with eight trajectories each.

    Args:
        arm: ``b=2``, ``b=3``, ``fork=none`` or ``verl's loop``.
        prompts: Prompts in flight together.
        depth: Most turns.
        tool: How the environment answers.
        seed: Of the step.
        run_ahead: Whether a path's next turn may begin before its tree asks for it.
    """
    server = Server()

    async def all_prompts() -> list[tuple[int, int, int]]:
        names = [f"{seed} {number}" for number in range(prompts)]
        if arm == VERL:
            return await asyncio.gather(*(_verl(server, name, depth=depth, tool=tool) for name in names))
        config = options(arm, depth=depth)
        return await asyncio.gather(
            *(_tree(server, name, config=config, tool=tool, run_ahead=run_ahead) for name in names)
        )

    found, seconds = run_counted(all_prompts())
    return Step(
        calls=server.calls,
        steps=sum(steps for steps, _, _ in found),
        written=server.decoded,
        computed=server.computed,
        turns=sum(turns for _, turns, _ in found),
        length=sum(length for _, _, length in found),
        trajectories=prompts * WIDTH,
        seconds=seconds,
    )


def options(arm: str, *, depth: int) -> TreePOConfig:
    """The trees of an arm."""
    config = load_config(
        {
            "width": WIDTH,
            "segment_length": 128,
            "max_depth": depth,
            "max_divergence": int(arm.removeprefix("b=")) if arm.startswith("b=") else 1,
            "initial_divergence": (1, 1),
            "fallback": {"candidates": "any"},
            "termination": {"repetition": {"enabled": False}},
        }
    )
    return without_forks(config) if arm == INDEPENDENT else config


async def _tree(
    server: Server, name: str, *, config: TreePOConfig, tool: Tool, run_ahead: bool
) -> tuple[int, int, int]:
    def decode(tokens: Sequence[int]) -> str:
        return ""

    async def tokenise(
        before: tuple[Mapping[str, Any], ...], added: tuple[Mapping[str, Any], ...], so_far: Sequence[int]
    ) -> tuple[list[int], int]:
        return [OBSERVED] * OBSERVATION_TOKENS, 0

    branches = Branches(
        partial(ChanceEnvironment, tool),
        {},
        name=name,
        fork=EnvironmentFork.FORK,
        timeout=1e6,
        max_steps=None,
        limit=OpenLimit(None),
    )
    talk = Conversation(
        branches,
        messages=(),
        decode=decode,
        tokenise=tokenise,
        on_error=EnvironmentErrors.FAIL,
        max_turns=None,
        longest_message=256,
        truncate_side="middle",
    )
    sampler = TreeSampler(
        prompt_id=name,
        prompt_tokens=prompt_tokens(name),
        config=config,
        max_response_length=ROOM,
        eos_token_ids=frozenset({END}),
        decode=decode,
        turns=True,
    )
    engine = TurnEngine(
        TurnModel(server),
        talk,
        limits=TurnLimits(segment_length=config.segment_length, max_depth=config.max_depth, max_response_length=ROOM),
        ends_by_text=partial(ends_by_text, config.termination, decode),
        run_ahead=run_ahead,
    )
    tree = await grow_tree(sampler, engine)
    return (
        branches.counts.steps,
        sum(len(trajectory.nodes) for trajectory in tree.trajectories),
        sum(trajectory.length for trajectory in tree.trajectories),
    )


async def _verl(server: Server, name: str, *, depth: int, tool: Tool) -> tuple[int, int, int]:
    """As verl's tool agent loop runs every talk by itself: generate, answer, generate."""

    async def one(number: int) -> tuple[int, int, int]:
        tokens, cuts, steps = prompt_tokens(name), [PROMPT_TOKENS], 0
        turn = 0
        for turn in range(1, depth + 1):
            seed = random.Random(f"{name} {number} {turn}").getrandbits(62)
            written = turn_tokens(seed)
            await server.decode(tokens, cuts, len(written))
            tokens = [*tokens, *written]
            if turn == depth:
                break
            steps += 1
            if tool.ends(seed):
                break
            await tool.answer(seed)
            tokens += [OBSERVED] * OBSERVATION_TOKENS
            cuts.append(len(tokens))
        return steps, turn, len(tokens) - PROMPT_TOKENS

    talks = await asyncio.gather(*map(one, range(WIDTH)))
    return sum(steps for steps, _, _ in talks), sum(turns for _, turns, _ in talks), sum(long for _, _, long in talks)
