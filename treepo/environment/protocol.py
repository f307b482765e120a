"""What a user writes: a class whose instances answer the turns of one conversation."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of the model.

    Attributes:
        text: What the model wrote, without special tokens.
        number: Its number in the conversation, from 1.
        last: Whether the model's next turn is the last it may have, so that the environment can ask for an answer.
        seed: For draws of the environment, in [0, 2**63); the same when the turn is stepped through again.
    """

    text: str
    number: int
    last: bool
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What an environment answers.

    Attributes:
        messages: Chat messages that follow the turn, each with a `role` and a text as its `content`; at least one
            unless the conversation is finished.
        finished: Whether the conversation ends with the turn; messages are then left out.
        reward: The turn's own reward, for the reward function; None where there is none.
    """

    messages: tuple[Mapping[str, str], ...] = ()
    finished: bool = False
    reward: float | None = None


class Environment(Protocol):
    """One conversation. It is made without arguments and at once, work belongs into `reset`; only `step` is required.

    Optional methods:

    * `reset(row)` begins the conversation; `row` holds the fields of the prompt's row in the dataset.
    * `check_finished(turn)` says whether the conversation ends with a turn, before a step is made. False by default.
    * `fork()` gives an independent copy that continues from the present state; needed by
      ``treepo.environment.fork=fork``.
    * `close()` ends the conversation.

    Every method may be `async`; otherwise it runs in a thread, and calls of one instance never overlap. An `async`
    method that blocks the event loop cannot be limited by ``treepo.environment.timeout`` and holds up every tree of its
    process.
    """

    def step(self, turn: Turn) -> Observation | Awaitable[Observation]:
        """Answers a turn."""
        ...


def observation_problem(observation: Any) -> str | None:
    """What is wrong with what `step` returned."""
    if not isinstance(observation, Observation):
        return f"step returned a {type(observation).__name__}, not a treepo.environment.Observation"
    if not observation.messages and not observation.finished:
        return "step returned neither a message nor finished=True"
    for message in observation.messages:
        content = message.get("content")
        if not isinstance(message.get("role"), str) or not isinstance(content, str):
            return f"step returned a message whose role or content is no text ({type(content).__name__})"
    return None
