"""Rules on the text of a response, asked segment by segment: the answer and the repetition.

Both look across segment boundaries: the answer scan carries its state along the path, and the repetition rule sees the
end of the text before the segment.
"""

from dataclasses import dataclass

from treepo.config import RepetitionConfig
from treepo.rewards.boxed import BoxScan


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScan:
    """What the text rules must know of a path to read its next segment.

    Attributes:
        answer: The answer scan after the path's text.
        tail: The end of the path's text, as long as a repetition can reach back from the next segment.
    """

    answer: BoxScan
    tail: str


ROOT_SCAN = TextScan(answer=BoxScan(), tail="")
"""The scan at the prompt: the response has no text yet."""


def read_text(scan: TextScan, text: str, rule: RepetitionConfig) -> TextScan:
    """The scan after a segment's text."""
    return TextScan(answer=scan.answer.feed(text), tail=_tail(scan.tail + text, rule) if rule.enabled else "")


def repeats(before: TextScan, text: str, rule: RepetitionConfig) -> bool:
    """Whether a segment's text repeats itself, alone or with the text before it.

    Args:
        before: The scan before the segment.
        text: The segment's text.
        rule: The options of the rule.

    Returns:
        Whether one substring occurs often enough, without overlaps, and its last occurrence ends in the segment.
    """
    # The tail is one character too short to hold all occurrences, so the last of them ends in the segment.
    return rule.enabled and has_repetition(before.tail + text, substring=rule.substring, count=rule.count)


def has_repetition(text: str, *, substring: int, count: int) -> bool:
    """Whether some substring of `substring` characters occurs `count` times in `text` without overlapping itself.

    The text is cut into blocks of half that length. Every occurrence of a substring contains a whole block, and that
    block occurs as often as the substring does; so only substrings around a block that is frequent enough need
    counting. Searching for the blocks is nearly all of the work.
    """
    # The first of the occurrences begins early enough to leave room for the others, and holds a block near its start.
    last_start = len(text) - substring * count
    if last_start < 0:
        return False
    block = (substring + 1) // 2
    for anchor in range(0, last_start + block, block):
        if text.count(text[anchor : anchor + block]) < count:
            continue
        for start in range(max(0, anchor - block + 1), min(anchor, last_start) + 1):
            if text.count(text[start : start + substring]) >= count:
                return True
    return False


def _tail(text: str, rule: RepetitionConfig) -> str:
    return text[-(rule.substring * rule.count - 1) :]
