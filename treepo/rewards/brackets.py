r"""What stands inside and outside of the brackets of an answer.

An answer is read token by token: `(`, `\{`, `\langle` and `\begin{pmatrix}` open a bracket, their counterparts close
the last one, whichever it is (`[0,1)` is an interval). A command, `<=` and any other character are tokens too.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

_TOKEN = re.compile(
    r"(?P<open>\\begin\{[a-z]+\*?\}|\\\{|\\langle(?![A-Za-z])|[(\[{])"
    r"|(?P<close>\\end\{[a-z]+\*?\}|\\\}|\\rangle(?![A-Za-z])|[)\]}])"
    r"|\\[A-Za-z]+|\\.|[<>!:]=|.",
    re.DOTALL,
)


class Token(NamedTuple):
    """A token, and how many brackets are open before and after it.

    In `(a)` these are 0 and 1 for the opening bracket, 1 and 1 for the letter, 1 and 0 for the closing one. A closing
    bracket without an opening one leaves fewer than none open.
    """

    text: str
    start: int
    before: int
    after: int

    @property
    def stop(self) -> int:
        """One past its last character."""
        return self.start + len(self.text)

    @property
    def outside(self) -> bool:
        """Whether it is inside no bracket, and none itself."""
        return self.before == self.after == 0


class Bracketed(NamedTuple):
    """A text that one pair of brackets holds: `[0,1)` is `[`, `0,1` and `)`."""

    begin: str
    inside: str
    end: str

    @property
    def pair(self) -> str:
        """Both brackets."""
        return self.begin + self.end


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a text; together they are all of it."""
    before = 0
    for found in _TOKEN.finditer(text):
        after = before + (found.lastgroup == "open") - (found.lastgroup == "close")
        yield Token(found[0], found.start(), before, after)
        before = after


def split(text: str, separators: Collection[str], *, uncut: Sequence[tuple[int, int]] = ()) -> Iterator[str]:
    """What stands between the separators outside of all brackets; the text alone if there are none.

    Args:
        text: The text.
        separators: Tokens.
        uncut: Start and stop of stretches of the text in which nothing separates.
    """
    start = 0
    # Most answers hold no separator at all and need not be read.
    for token in tokens(text) if any(separator in text for separator in separators) else ():
        if token.text in separators and token.outside and not any(a < token.start < b for a, b in uncut):
            yield text[start : token.start]
            start = token.stop
    yield text[start:]


def bracketed(text: str) -> Bracketed | None:
    """The brackets around a whole text and what they hold.

    Returns:
        None if there are none: `a(1)`, `(1)+(2)` (the first closes too early), `(1` (it never does), or a matrix.
    """
    read = tokens(text)
    first = next(read, None)
    if first is None or first.after != 1 or first.text.startswith("\\begin"):
        return None
    closing = next((token for token in read if token.after == 0), None)
    if closing is None or closing.stop < len(text):
        return None
    return Bracketed(begin=first.text, inside=text[len(first.text) : closing.start], end=closing.text)
