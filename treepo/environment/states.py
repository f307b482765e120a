"""What the branches of one tree are made of: states behind turns, and what came of a turn."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from treepo.environment.protocol import Observation, Turn
from treepo.tree import FinishReason


@dataclass(slots=True, eq=False)
class Live:
    """An open environment."""

    environment: Any


@dataclass(slots=True, eq=False)
class Place:
    """Behind some turns: an open environment that stands there, if there is one, and how to get there again."""

    turns: tuple[tuple[Turn, Observation], ...] = ()
    live: Live | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchState:
    """The conversation behind a turn. It never changes: a step works on a copy.

    Attributes:
        turns: Turns so far.
        rewards: The turns' own rewards, shape [turns].
        place: Where the environment stands; behind a turn that failed it stands where it stood before.
    """

    turns: int = 0
    rewards: tuple[float | None, ...] = ()
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of a turn.

    Attributes:
        state: The conversation behind the turn.
        messages: The environment's messages; empty where the path ends.
        ended_by: Why it ends; None while the conversation continues.
        error: What the environment's `step` failed with; None where it did not.
    """

    state: BranchState
    messages: tuple[Mapping[str, str], ...] = ()
    ended_by: FinishReason | None = None
    error: str | None = None


@dataclass(slots=True, kw_only=True)
class BranchCounts:
    """What the environments of one tree did.

    Attributes:
        steps: Steps that answered a turn.
        replays: Steps that were made again to reach a state.
        failed: Steps, forks and replays that failed, those that took too long among them.
        timed_out: Those of them that took too long.
        close_failed: Environments that could not be closed.
        seconds: Time of the steps in all, waiting for a free place not counted.
        longest: Time of the longest step.
        open_at_end: Environments still open when the tree was closed, kept for further branches.
    """

    steps: int = 0
    replays: int = 0
    failed: int = 0
    timed_out: int = 0
    close_failed: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    open_at_end: int = 0
