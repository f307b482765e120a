"""When a path is finished, and why: the first rule that holds; and when a text repeats itself."""

from collections import Counter

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


def has_repetition(text: str, *, substring: int, count: int, new_from: int) -> bool:
    """Whether some substring occurs often enough in a text, at least once with its end in the new part.

    Occurrences may overlap. Counting every substring would cost the product of the lengths. So first a cheap look at
    samples: of `count` occurrences two begin at the same distance from a grid with `count - 1` characters between its
    points, and these two hold the same sample of the text at a grid point. Text without two equal samples, and that is
    nearly all text, does not repeat itself; otherwise only substrings around the equal samples need counting.

    Args:
        text: The text.
        substring: Length of the substring in characters.
        count: How often it must occur, at least 2.
        new_from: Where the new part of the text begins.
    """
    grid = min(count - 1, substring)
    sample = substring - grid + 1
    points = range(0, len(text) - sample + 1, grid)
    samples = [text[point : point + sample] for point in points]
    if len(set(samples)) == len(samples):
        return False
    frequent = {found for found, times in Counter(samples).items() if times > 1 and _occurs(text, found, count)}
    return any(
        text.rfind(text[start : start + substring]) + substring > new_from
        and _occurs(text, text[start : start + substring], count)
        for point, found in zip(points, samples, strict=True)
        if found in frequent
        for start in range(max(0, point - grid + 1), min(point, len(text) - substring) + 1)
    )


def _occurs(text: str, part: str, count: int) -> bool:
    """Whether `part` occurs `count` times in `text`, overlaps included."""
    position = -1
    for _ in range(count):
        position = text.find(part, position + 1)
        if position < 0:
            return False
    return True
