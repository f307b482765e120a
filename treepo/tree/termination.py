"""When a path is finished, and why: the first rule that holds."""

from treepo.config import TerminationConfig
from treepo.config.policies import AnswerRule, RepetitionPriority
from treepo.tree.node import FinishReason


def classify(
    *,
    rules: TerminationConfig,
    answer_complete: bool,
    ended: bool,
    repeated: bool,
    length: int,
    max_length: int,
    depth: int,
    max_depth: int,
    ended_by: FinishReason = FinishReason.EOS,
) -> FinishReason | None:
    """Says why a path ends with the segment it just got.

    Args:
        rules: The options of the rules.
        answer_complete: Whether the response holds a complete answer.
        ended: Whether the model ended the response.
        repeated: Whether the segment repeats itself.
        length: Tokens of the response.
        max_length: Most tokens it may have.
        depth: Windows of the response.
        max_depth: Most windows it may have.
        ended_by: Why it ended, where it did so without an answer. A response whose environment failed has no answer.

    Returns:
        The reason, or None while the path is active.
    """
    if repeated and rules.repetition.priority is RepetitionPriority.FIRST:
        return FinishReason.REPETITION
    if ended and ended_by is FinishReason.FAILED:
        return ended_by
    if answer_complete and (ended or rules.answer is AnswerRule.BOXED):
        return FinishReason.ANSWERED
    if ended:
        return ended_by
    if length >= max_length:
        return FinishReason.MAX_TOKENS
    if depth >= max_depth:
        return FinishReason.MAX_DEPTH
    if repeated:
        return FinishReason.REPETITION
    return None
