"""Trees of turns without a model: a scripted engine, a stateful environment, and what a path must have been told.

Tokens are characters. ``$`` ends a turn; an observation is the environment's text and ``>``, which stands for the
prompt of the next turn.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from treepo.config import TreePOConfig, load_config
from treepo.config.policies import EnvironmentFork
from treepo.environment import Branches, Conversation, Observation, OpenLimit, Turn
from treepo.rollout import SegmentEngine, TurnEngine, TurnLimits, grow_tree, without_forks
from treepo.tree import Segment, SegmentRequest, Tree, TreeSampler
from treepo.tree.text import ends_by_text

END, GO = ord("$"), ord(">")
PROMPT = "?"


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]


def decode(tokens: Sequence[int]) -> str:
    """As a tokenizer that leaves special tokens out."""
    return "".join(chr(token) for token in tokens if token not in (END, GO))


def never_ends(request: SegmentRequest) -> str:
    return f"{chr(97 + request.seed % 26)}$"


class TalkingEngine:
    """Writes what a script says for each request's seed, as many tokens of it as are asked for.

    Attributes:
        calls: Requests that were opened.
        running: Requests that run now.
    """

    def __init__(self, script: Callable[[SegmentRequest], str], *, delay: float = 0.0) -> None:
        self.calls = 0
        self.running: set[int] = set()
        self._script = script
        self._delay = delay
        self._left: dict[int, str] = {}

    async def decode_segment(self, prompt_tokens: Sequence[int], request: SegmentRequest) -> Segment:
        if request.continues:
            assert request.parent_request is not None
            self.running.remove(request.parent_request)
            text = self._left.pop(request.parent_request) or self._script(request)
        else:
            self.calls += 1
            text = self._script(request)
        self.running.add(request.id)
        await asyncio.sleep(self._delay)
        text, self._left[request.id] = text[: request.max_tokens], text[request.max_tokens :]
        return Segment(
            request_id=request.id,
            tokens=encode(text),
            log_probs=[-float(ord(character)) for character in text],
            stopped=text.endswith("$"),
            prefix_tokens=0 if request.continues else len(request.prefix_tokens(prompt_tokens)),
        )

    def release(self, request_id: int) -> None:
        self.running.remove(request_id)

    async def close(self) -> None:
        self.running.clear()


@dataclass
class World:
    """What the environments of a scene share.

    Attributes:
        live: Environments that were reset or forked, and not closed.
        most_live: Most of them at once.
        raising: Chance that a step raises.
        hanging: Chance that a step hangs.
        finished_at: Total from which on the environment ends the conversation.
        rows: What `reset` was given.
        draws: Chance and delays.
    """

    live: int = 0
    most_live: int = 0
    raising: float = 0.0
    hanging: float = 0.0
    finished_at: float = float("inf")
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    draws: random.Random = field(default_factory=random.Random)

    def opened(self) -> None:
        self.live += 1
        self.most_live = max(self.most_live, self.live)


class Adder:
    """Adds up the characters of all turns and says the total."""

    world = World()

    def __init__(self) -> None:
        self.total = 0
        self.closed = False
        self.world.opened()

    async def reset(self, row: Mapping[str, Any]) -> None:
        self.world.rows.append(row)

    async def step(self, turn: Turn) -> Observation:
        assert not self.closed
        await asyncio.sleep(self.world.draws.random() * 1e-4)
        draw = self.world.draws.random()
        if draw < self.world.raising:
            raise OSError("the line is dead")
        if draw < self.world.raising + self.world.hanging:
            await asyncio.sleep(60)
        self.total += sum(map(ord, turn.text))
        if self.total >= self.world.finished_at:
            return Observation(finished=True, reward=1.0)
        return Observation(messages=({"role": "user", "content": str(self.total)},), reward=float(turn.number))

    async def fork(self) -> "Adder":
        assert not self.closed
        other = type(self)()
        other.total = self.total
        return other

    async def close(self) -> None:
        assert not self.closed
        self.closed = True
        self.world.live -= 1


@dataclass(kw_only=True)
class Scene:
    """One tree of turns that grew.

    Attributes:
        tree: The tree.
        engine: The engine below.
        turns: The engine above.
        branches: The environments.
        limit: Their limit.
    """

    tree: Tree
    engine: SegmentEngine
    turns: TurnEngine
    branches: Branches
    limit: OpenLimit


def turn_options(**options: Any) -> TreePOConfig:
    given = options.get("fallback", {})
    return load_config(
        {
            "width": 8,
            "segment_length": 16,
            "max_depth": 5,
            "max_divergence": 2,
            "initial_divergence": (1, 1),
            "termination": {"repetition": {"enabled": False}},
            **options,
            "fallback": given if given.get("cut") == "none" else {"candidates": "any", **given},
        }
    )


class Stage:
    """Puts a tree of turns together."""

    def __init__(
        self,
        make: Callable[[], Any],
        config: TreePOConfig,
        *,
        engine: SegmentEngine,
        max_turns: int | None = None,
        max_response_length: int = 400,
        limit: OpenLimit | None = None,
        run_ahead: bool = True,
        longest_message: int = 256,
        prompt_id: str = "p",
        replaced: int = 0,
    ) -> None:
        options = config.environment
        if options.fork is EnvironmentFork.NONE:
            config = without_forks(config)
        self.limit = limit or OpenLimit(options.max_open)
        self.engine = engine
        self.sampler = TreeSampler(
            prompt_id=prompt_id,
            prompt_tokens=encode(PROMPT),
            config=config,
            max_response_length=max_response_length,
            eos_token_ids=frozenset({END}),
            decode=decode,
            turns=True,
        )
        self.branches = Branches(
            make,
            {"question": prompt_id},
            name=prompt_id,
            fork=options.fork,
            timeout=options.timeout,
            max_steps=options.max_steps,
            limit=self.limit,
        )

        async def tokenise(
            before: tuple[Mapping[str, Any], ...], added: tuple[Mapping[str, Any], ...], so_far: Sequence[int]
        ) -> tuple[list[int], int]:
            await asyncio.sleep(0)
            assert so_far[0] == ord(PROMPT)
            assert decode(so_far).endswith(before[-1]["content"])
            text = "".join(message["content"] for message in added)
            return [*so_far[len(so_far) - replaced :], *encode(text), GO], replaced

        talk = Conversation(
            self.branches,
            messages=({"role": "user", "content": PROMPT},),
            decode=decode,
            tokenise=tokenise,
            on_error=options.on_error,
            max_turns=max_turns,
            longest_message=longest_message,
            truncate_side="middle",
        )
        self.turns = TurnEngine(
            engine,
            talk,
            limits=TurnLimits(
                segment_length=config.segment_length,
                max_depth=config.max_depth,
                max_response_length=max_response_length,
            ),
            ends_by_text=partial(ends_by_text, config.termination, decode),
            run_ahead=run_ahead,
        )

    async def grow(self) -> Scene:
        tree = await grow_tree(self.sampler, self.turns)
        return Scene(tree=tree, engine=self.engine, turns=self.turns, branches=self.branches, limit=self.limit)


def conversation(scene: Scene, index: int) -> list[tuple[str, str]]:
    """The turns of a trajectory: what the model wrote, and what it read next; empty behind the last."""
    said, turns = "", []
    for node in scene.tree.trajectories[index].nodes:
        said += "".join(map(chr, node.tokens[: node.written]))
        if node.observed:
            turns.append((said, "".join(map(chr, node.tokens[node.written :]))))
            said = ""
    return [*turns, (said, "")]
