"""What growing a tree of turns needs of whoever answers the turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from treepo.tree import FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedTurn:
    """A turn that the model ended.

    Attributes:
        state: The conversation before it, as the talk gave it.
        tokens: What the model wrote in it, shape [n].
        prefix: Everything before it: the prompt, and the path with its observations.
        number: Its number in the conversation, from 1.
        seed: For draws of the environment.
        may_continue: Whether the path has room and depth for a further turn. Without, no step is made.
        next_is_last: Whether the further turn would be in the path's last window.
    """

    state: Any
    tokens: Sequence[int]
    prefix: Sequence[int]
    number: int
    seed: int
    may_continue: bool
    next_is_last: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What follows a turn.

    Attributes:
        state: The conversation behind it.
        tokens: What the model reads before its next turn, the prompt of that turn included; empty where the path ends.
        replaced: How many of the turn's last tokens are taken away before them.
        ended_by: Why the path ends; None where the conversation continues, or would if the turn might.
    """

    state: Any
    tokens: Sequence[int] = ()
    replaced: int = 0
    ended_by: FinishReason | None = None


class Talk(Protocol):
    """Answers the turns of one tree."""

    @property
    def root(self) -> Any:
        """The state before the first turn."""
        ...

    async def answer(self, turn: EndedTurn) -> Answer:
        """Answers a turn. A state may be answered from any number of times, also at once."""
        ...

    async def close(self) -> None:
        """Ends all conversations of the tree."""
        ...
