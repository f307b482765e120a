"""A modelled server, a model that writes turns of random length, and an environment that ends a talk by chance."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from treepo.environment import Observation, Turn
from treepo.tree import Segment, SegmentRequest

END = 1
OBSERVED = 2
PROMPT_TOKENS, OBSERVATION_TOKENS = 256, 24
SHORTEST_TURN, LONGEST_TURN = 32, 96
# Seconds: a decoding step, what every running request adds, and a prompt token that is in no cache.
STEP, PER_REQUEST, PER_PROMPT_TOKEN = 0.010, 0.00005, 0.00002
TOOL = 0.2


@dataclass(kw_only=True)
class Server:
    """Decodes one token of every running request at a time, as a server with continuous batching.

    Attributes:
        calls: Requests so far.
        decoded: Tokens decoded.
        computed: Prompt tokens that no cache held.
    """

    calls: int = 0
    decoded: int = 0
    computed: int = 0
    _known: set[int] = field(default_factory=set)
    _running: dict[int, tuple[int, asyncio.Event]] = field(default_factory=dict)
    _prefill: float = 0.0
    _clock: "asyncio.Task[None] | None" = None

    async def decode(self, prefix: Sequence[int], cuts: Sequence[int], count: int) -> None:
        """Decodes `count` tokens behind a prefix whose pieces end at `cuts`; what was submitted before is cached."""
        self.calls += 1
        begin = 0
        for cut in cuts:
            key = hash(tuple(prefix[:cut]))
            # What the model wrote is in the cache since it was decoded; of a piece only the observation is new.
            if key not in self._known:
                self._known.add(key)
                new = sum(token == OBSERVED for token in prefix[begin:cut]) if begin else cut
                self.computed += new
                self._prefill += new * PER_PROMPT_TOKEN
            begin = cut
        done = asyncio.Event()
        self._running[self.calls] = (count, done)
        if self._clock is None:
            self._clock = asyncio.ensure_future(self._tick())
        await done.wait()

    async def _tick(self) -> None:
        while self._running:
            prefill, self._prefill = self._prefill, 0.0
            await asyncio.sleep(STEP + PER_REQUEST * len(self._running) + prefill)
            for request, (left, done) in list(self._running.items()):
                self.decoded += 1
                if left == 1:
                    del self._running[request]
                    done.set()
                else:
                    self._running[request] = (left - 1, done)
        self._clock = None


def turn_tokens(seed: int) -> list[int]:
    """A turn; its tokens tell it apart."""
    draw = random.Random(f"turn {seed}")
    return [*(draw.randint(3, 1 << 30) for _ in range(draw.randint(SHORTEST_TURN, LONGEST_TURN) - 1)), END]


def prompt_tokens(name: str) -> list[int]:
    """A prompt; its tokens tell it apart."""
    return [random.Random(f"prompt {name}").randint(3, 1 << 30)] * PROMPT_TOKENS


class TurnModel:
    """Writes turns on a server; see :class:`treepo.rollout.SegmentEngine`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def decode_segment(self, prompt_tokens: Sequence[int], request: SegmentRequest) -> Segment:
        """Writes a turn."""
        tokens = turn_tokens(request.seed)
        cuts = [len(prompt_tokens)]
        for node in request.nodes:
            cuts.append(cuts[-1] + node.length)
        await self._server.decode(request.prefix_tokens(prompt_tokens), cuts, len(tokens))
        return Segment(request_id=request.id, tokens=tokens, log_probs=[-1.0] * len(tokens), stopped=True)

    def release(self, request_id: int) -> None:
        """Nothing to end."""

    async def close(self) -> None:
        """Nothing to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """How an environment answers.

    Attributes:
        hazard: Chance that a talk ends with a turn.
        slow: Share of the answers that take ten times as long.
    """

    hazard: float
    slow: float

    def ends(self, seed: int) -> bool:
        """Whether the talk ends with a turn."""
        return random.Random(f"ends {seed}").random() < self.hazard

    async def answer(self, seed: int) -> None:
        """Takes its time."""
        slow = random.Random(f"slow {seed}").random() < self.slow
        await asyncio.sleep(TOOL * (10 if slow else 1))


class ChanceEnvironment:
    """Answers after a while, and ends a talk by chance."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool

    async def step(self, turn: Turn) -> Observation:
        """Answers a turn."""
        if self._tool.ends(turn.seed):
            return Observation(finished=True)
        await self._tool.answer(turn.seed)
        return Observation(messages=({"role": "user", "content": "go on"},))

    async def fork(self) -> "ChanceEnvironment":
        """Another one."""
        return ChanceEnvironment(self._tool)
