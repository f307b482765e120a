r"""What an answer is made of: lists, sets, tuples, intervals, unions, matrices, equations."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from treepo.rewards.spelling import FONT, respell

REMEMBERED = 1024
"""Texts whose parts are kept: matching in any order compares each part with many others."""

_TOKEN = re.compile(
    r"(?P<open>\\begin\{[a-z]+\*?\}|\\\{|\\langle(?![A-Za-z])|[(\[{])"
    r"|(?P<close>\\end\{[a-z]+\*?\}|\\\}|\\rangle(?![A-Za-z])|[)\]}])"
    r"|\\[A-Za-z]+|\\.|[<>!:]=|.",
    re.DOTALL,
)
THOUSANDS = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])")
"""Commas that group the digits of one number."""
_CONJUNCTION = re.compile(
    r",? ?(?:\\text\{ ?,? ?(?:and|or) ?\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|\\l?or(?![A-Za-z])) ?"
)
_MATRIX = re.compile(
    r"[(\[]?\\begin\{(?P<name>[pb]?matrix|smallmatrix|array)\}(?:(?<=array\})\{[lcr| ]*\})?"
    r"(?P<body>.*)\\end\{(?P=name)\}[)\]]?",
    re.DOTALL,
)
_PLUS_MINUS = re.compile(r"\\(pm|mp)(?![A-Za-z])")
_MEMBER = re.compile(r"(?:[A-Za-z]|\\[a-z]+)(?:\([a-z]\))?\\in(?![A-Za-z])")
_LEFT_OF_APPROXIMATION = re.compile(r"(.*?)\\(?:approx|simeq)(?![A-Za-z]) ?(.*)", re.DOTALL)
# What an equation may define: names, function values, lengths; no product, sum or power. Possessive throughout: nothing
# here may try again and again on a hostile text.
NAME = re.compile(
    rf"\|?(?:[A-Za-z ]|{FONT}\{{[^{{}}]*+\}}"
    r"|\\overline\{[A-Z]++\}|\\(?!frac|sqrt|pm|times|cdot|int|sum)[A-Za-z]++)++'*+"
    r"(?:_(?:[A-Za-z0-9]|\{[A-Za-z0-9,]++\}))?(?:\([^()=]*+\)|\[[^\[\]=]*+\])?\|?"
    r"|\((?:[A-Za-z],)*+[A-Za-z]\)"
)
FUNCTION = re.compile(r"[A-Za-z]\([a-z]\)")


class Kind(StrEnum):
    """What an answer is made of."""

    ATOM = "atom"
    LIST = "list"
    SET = "set"
    TUPLE = "tuple"
    UNION = "union"
    MATRIX = "matrix"
    EQUATION = "equation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """An answer and its parts.

    Attributes:
        kind: What it is.
        text: The whole, respelt.
        parts: Its items; of an equation, left and right side.
        frame: Brackets of a tuple or interval, rows and columns of a matrix.
    """

    kind: Kind
    text: str
    parts: tuple[str, ...] = ()
    frame: str = ""

    @property
    def defines(self) -> bool:
        """Whether this is an equation that gives a name a value."""
        return self.kind is Kind.EQUATION and NAME.fullmatch(self.parts[0]) is not None


@lru_cache(maxsize=REMEMBERED)
def tidy(text: str) -> str:
    r"""The respelt answer without math mode inside it, a leading `x \in`, and what follows an approximate sign."""
    text = respell(text)
    dollars = len(re.findall(r"(?<!\\)\$", text))
    if dollars and dollars % 2 == 0:
        text = respell(re.sub(r"(?<!\\)\$", " ", text))
    member = _MEMBER.match(text)
    if member is not None and "|" not in text:
        text = text[member.end() :].strip()
    about = _LEFT_OF_APPROXIMATION.fullmatch(text)
    if about is not None:
        exact = about[1].rpartition("=")[2]
        text = about[1] if exact and not NAME.fullmatch(exact) else about[2]
    frame = _pairs(text) if text[:1] in ("(", "{") else None
    if frame == ("{", "}") or (frame == ("(", ")") and len(list(_split(text[1:-1], ",;"))) == 1):
        text = text[1:-1]
    return text.strip().removeprefix("+")


@lru_cache(maxsize=REMEMBERED)
def shape(text: str) -> Shape:
    """Takes a tidy answer apart. A comma may group digits; inside brackets it always separates."""
    parts = list(_split(_CONJUNCTION.sub(",", text), ",;", thousands=True))
    if len(parts) == 1 and _PLUS_MINUS.search(text):
        upper, lower = ({"pm": "+", "mp": "-"}, {"pm": "-", "mp": "+"})
        parts = [_PLUS_MINUS.sub(lambda sign, signs=signs: signs[sign[1]], text) for signs in (upper, lower)]
    parts = [part.strip() for part in parts]
    if len(parts) > 1:
        expanded = [half for part in parts for half in (shape(part).parts if _PLUS_MINUS.search(part) else (part,))]
        return Shape(kind=Kind.LIST, text=text, parts=tuple(part for part in expanded if part))
    if len(sides := list(_split(text, ("=",)))) > 1 and all(side.strip() for side in sides):
        first, last = sides[0].strip(), sides[-1].strip()
        flipped = NAME.fullmatch(last) is not None and NAME.fullmatch(first) is None
        return Shape(kind=Kind.EQUATION, text=text, parts=(last, first) if flipped else (first, last))
    if len(sets := list(_split(text, ("\\cup",)))) > 1:
        return Shape(kind=Kind.UNION, text=text, parts=tuple(sets))
    matrix = _MATRIX.fullmatch(text)
    if matrix is not None and "\\begin" not in matrix["body"]:
        rows = [row.split("&") for row in matrix["body"].removesuffix("\\\\").split("\\\\")]
        cells = tuple(cell for row in rows for cell in row)
        return Shape(kind=Kind.MATRIX, text=text, parts=cells, frame="x".join(str(len(row)) for row in rows))
    return _brackets(text)


def _brackets(text: str) -> Shape:
    frame = _pairs(text)
    if frame is None:
        return Shape(kind=Kind.ATOM, text=text)
    begin, end = frame
    inside = text[len(begin) : len(text) - len(end)]
    parts = tuple(part.strip() for part in _split(inside, ",;"))
    if begin == "\\{":
        builder = end != "\\}" or re.search(r"[|:]|\\(?:mid|l?dots|in)(?![A-Za-z])", inside)
        return Shape(kind=Kind.ATOM if builder else Kind.SET, text=text, parts=() if builder else parts)
    if len(parts) == 1 or begin == "{":
        return Shape(kind=Kind.ATOM, text=text)
    frame = "()" if begin == "\\langle" else begin + end
    return Shape(kind=Kind.TUPLE, text=text, parts=parts, frame=frame)


def _pairs(text: str) -> tuple[str, str] | None:
    """The brackets around the whole of a text."""
    depth, first, last = 0, "", ""
    for token, before, after in _walk(text):
        if depth == 0 and first:
            return None  # something follows the closing bracket
        first, last, depth = first or token, token, after
        if before == after == 0 or after < 0:
            return None
    return (first, last) if first and depth == 0 and not first.startswith("\\begin") else None


def _split(text: str, separators: Sequence[str], *, thousands: bool = False) -> Iterator[str]:
    grouped = [found.span() for found in THOUSANDS.finditer(text)] if thousands else []
    start = position = 0
    for token, before, after in _walk(text):
        if before == after == 0 and token in separators and not any(a < position < b for a, b in grouped):
            yield text[start:position]
            start = position + len(token)
        position += len(token)
    yield text[start:]


def _walk(text: str) -> Iterator[tuple[str, int, int]]:
    """Every token with the bracket depth before and after it."""
    depth = 0
    for found in _TOKEN.finditer(text):
        after = depth + (found["open"] is not None) - (found["close"] is not None)
        yield found[0], depth, after
        depth = after
