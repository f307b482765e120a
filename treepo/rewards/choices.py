r"""Multiple choice: the letter that a response settles on.

A box decides alone. Without one, the last sentence of the form `the answer is (B)` does.
"""

import re

from treepo.rewards.boxed import last_boxed
from treepo.rewards.spelling import FONT

CHOICE_SOURCES = frozenset({"medmcqa", "medqa"})
"""Data sources whose ground truth is the letter of an option."""
LETTERS = "ABCDE"
LONGEST_CHOICE = 400
"""Characters of a box that may name an option with its text."""
HEDGE = 40
"""Characters behind a letter in which another one takes it back."""

_FONT = re.compile(rf"{FONT}\{{|[{{}}$*]|\\[,;:! ]")
_BOXED = re.compile(
    r"(?:(?:option|choice|answer)[ :]*)?\(?\[?(?P<letter>[A-Ea-e])(?:(?:[\])]|[.):])[ .]*(?P<text>\S.*)?)?",
    re.DOTALL | re.I,
)
_OTHER_OPTION = re.compile(r"(?:^|[\s,;/(&])\(?[A-E](?:[).,;/:]|$)|\b(?:and|or|not)\s+\(?[A-E]\b")
_SENTENCE = re.compile(
    r"\b(?:answer|option|choice)(?:\s++is|\s*+:)[:*_\s]*+(?:(?:option|choice)\s++)?(?:\$|\\\()?(?:\\text(?:bf)?\{)?"
    r"[*_(\[]*+(?P<letter>[A-E])(?![A-Za-z'’])",
    re.I,
)
# A letter that only begins a name or a phrase: `A common one`, `B cells`, `C. difficile`.
_BEGINS_A_NAME = re.compile(r"[A-E](?:\. ?| (?!because|since|as|for|due|and|or|by|with))[a-z]")


def choice_letter(response: str) -> str | None:
    """The letter a response settles on, upper case, or None where it names none or several."""
    box = last_boxed(response)
    if box is not None:
        return boxed_letter(box)
    found = None
    for match in _SENTENCE.finditer(response):
        if match["letter"].isupper() and not _BEGINS_A_NAME.match(response, match.end() - 1):
            found = match
    if (
        found is None
        or _OTHER_OPTION.match(response, found.end())
        or _hedges(response[found.end() : found.end() + HEDGE])
    ):
        return None
    return found["letter"]


def boxed_letter(box: str) -> str | None:
    """The letter in a box: `B`, `(B)`, `B. Aspirin`, `Option B`; None for anything else, several letters included."""
    if len(box) > LONGEST_CHOICE:
        return None
    text = _FONT.sub(" ", box).strip()
    found = _BOXED.fullmatch(re.sub(r"\s+", " ", text).rstrip("."))
    if found is None or (found["text"] and _OTHER_OPTION.search(found["text"])):
        return None
    return found["letter"].upper()


def _hedges(rest: str) -> bool:
    """Whether another option follows at once, as in `B or C`."""
    return re.match(r"[\s)*\]},.]*(?:,|/|or|and|&)\s*[*(\[]*[A-E](?![A-Za-z'’])", rest) is not None
