"""Trees of turns with a user's environment: texts to the environment, and its messages back as tokens."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from treepo.config.policies import EnvironmentErrors
from treepo.environment.branches import Branches
from treepo.environment.protocol import Turn
from treepo.environment.states import BranchState, Reply
from treepo.environment.talk import Answer, EndedTurn
from treepo.tree import FinishReason

Messages = tuple[Mapping[str, Any], ...]
Tokenise = Callable[[Messages, Messages, Sequence[int]], Awaitable[tuple[Sequence[int], int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationState:
    """Behind a turn: where the environment stands, and all messages so far."""

    branch: BranchState
    messages: Messages

    @property
    def turn_rewards(self) -> tuple[float | None, ...]:
        """The turns' own rewards, shape [turns]."""
        return self.branch.rewards


class Conversation:
    """Answers turns with an environment; see :class:`treepo.environment.Talk`.

    Attributes:
        root: The state before the first turn.
    """

    def __init__(
        self,
        branches: Branches,
        *,
        messages: Messages,
        decode: Callable[[Sequence[int]], str],
        tokenise: Tokenise,
        on_error: EnvironmentErrors,
        max_turns: int | None,
        longest_message: int,
        truncate_side: str,
    ) -> None:
        """Begins the conversation.

        Args:
            branches: The environments.
            messages: The prompt's messages.
            decode: Text of some token ids.
            tokenise: From the messages so far, those that follow and all tokens so far to the tokens that follow, and
                how many of the last tokens so far they replace.
            on_error: What becomes of a turn at which the environment fails.
            max_turns: Most turns of the model; None for no limit but the tree's depth.
            longest_message: Characters beyond which a message is cut.
            truncate_side: Where, see :func:`cut_text`.
        """
        self.root = ConversationState(branch=branches.root, messages=messages)
        self._branches = branches
        self._decode = decode
        self._tokenise = tokenise
        self._on_error = on_error
        self._max_turns = max_turns
        self._longest_message = longest_message
        self._truncate_side = truncate_side

    async def answer(self, turn: EndedTurn) -> Answer:
        """Answers a turn.

        Raises:
            RuntimeError: The environment failed, and ``on_error`` is ``fail``.
            EnvironmentStartError: It could not be reset.
        """
        state: ConversationState = turn.state
        left = None if self._max_turns is None else self._max_turns - turn.number
        continues = turn.may_continue and left != 0
        text = self._decode(turn.tokens)
        reply = await self._branches.answer(
            state.branch,
            Turn(text=text, number=turn.number, last=turn.next_is_last or left == 1, seed=turn.seed),
            step=continues,
        )
        after = ConversationState(
            branch=reply.state, messages=(*state.messages, {"role": "assistant", "content": text})
        )
        added = self._messages(reply, turn.number)
        if reply.ended_by is not None or not continues or not added:
            return Answer(state=after, ended_by=self._end(reply, turn))
        tokens, replaced = await self._tokenise(after.messages, added, [*turn.prefix, *turn.tokens])
        return Answer(state=replace(after, messages=(*after.messages, *added)), tokens=tokens, replaced=replaced)

    async def close(self) -> None:
        """Closes the environments."""
        await self._branches.close()

    def _messages(self, reply: Reply, number: int) -> Messages:
        """What the model reads, an error too."""
        messages = reply.messages
        if reply.error is not None:
            if self._on_error is EnvironmentErrors.FAIL:
                raise RuntimeError(f"turn {number}: the environment failed: {reply.error}")
            if self._on_error is EnvironmentErrors.OBSERVATION:
                messages = ({"role": "user", "content": f"Error: {reply.error}"},)
        return tuple(
            {**message, "content": cut_text(message["content"], self._longest_message, self._truncate_side)}
            for message in messages
        )

    def _end(self, reply: Reply, turn: EndedTurn) -> FinishReason | None:
        if reply.ended_by is not None:
            return reply.ended_by
        if reply.error is not None and self._on_error is EnvironmentErrors.END:
            return FinishReason.FAILED
        return FinishReason.MAX_TURNS if turn.may_continue else None


def cut_text(text: str, longest: int, side: str) -> str:
    """A text without what is too long of it.

    Args:
        text: The text.
        longest: Characters that are kept, at most.
        side: What is left out: the text's `left`, its `right`, or its `middle`.
    """
    if len(text) <= longest:
        return text
    match side:
        case "left":
            return f"(truncated)...{text[len(text) - longest :]}"
        case "right":
            return f"{text[:longest]}...(truncated)"
    half = longest // 2
    return f"{text[:half]}...(truncated)...{text[len(text) - half :]}"
