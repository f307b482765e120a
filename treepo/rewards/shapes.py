r"""What an answer is made of: lists, sets, tuples, intervals, unions, matrices, equations.

`tidy` takes off what says nothing, `shape` takes apart what is left.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from treepo.rewards.brackets import bracketed, split
from treepo.rewards.spelling import FONT, respell

REMEMBERED = 1024
"""Texts whose parts are kept: matching in any order compares each part with many others."""

_COMMAS = (",", ";")

_DOLLAR = re.compile(r"(?<!\\)\$")
# `x\in`, `f(x)\in` or `\theta\in` at the beginning.
_MEMBER = re.compile(r"(?:[A-Za-z]|\\[a-z]+)(?:\([a-z]\))?\\in(?![A-Za-z])")
# `\frac{1}{3}\approx 0.33`: what is left and right of the first sign.
_APPROXIMATION = re.compile(r"(?P<left>.*?)\\(?:approx|simeq)(?![A-Za-z]) ?(?P<right>.*)", re.DOTALL)

THOUSANDS = re.compile(r"(?<![0-9.])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])")
"""Commas that group the digits of one number, as in `1,234,567`."""
# `1 and 2`, `1,\text{ or }2`, `x<1\lor x>2`.
_CONJUNCTION = re.compile(
    r",? ?(?:\\text\{ ?,? ?(?:and|or) ?\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|\\l?or(?![A-Za-z])) ?"
)
_PLUS_MINUS = re.compile(r"\\(pm|mp)(?![A-Za-z])")
# `\begin{pmatrix}1&2\\3&4\end{pmatrix}`, `[\begin{array}{cc}1&2\end{array}]`.
_MATRIX = re.compile(
    r"[(\[]?\\begin\{(?P<name>[pb]?matrix|smallmatrix|array)\}(?:(?<=array\})\{[lcr| ]*\})?"
    r"(?P<body>.*)\\end\{(?P=name)\}[)\]]?",
    re.DOTALL,
)
# `x|x>0`, `x:x>0`, `n\in...`, `1,2,\ldots`: members of a set that are described, not listed.
_DESCRIBED = re.compile(r"[|:]|\\(?:mid|l?dots|in)(?![A-Za-z])")
# What an equation may define: names, function values, lengths; no product, sum or power. Possessive throughout: nothing
# here may try again and again on a hostile text.
NAME = re.compile(
    rf"\|?(?:[A-Za-z ]|{FONT}\{{[^{{}}]*+\}}"
    r"|\\overline\{[A-Z]++\}|\\(?!frac|sqrt|pm|times|cdot|int|sum)[A-Za-z]++)++'*+"
    r"(?:_(?:[A-Za-z0-9]|\{[A-Za-z0-9,]++\}))?(?:\([^()=]*+\)|\[[^\[\]=]*+\])?\|?"
    r"|\((?:[A-Za-z],)*+[A-Za-z]\)"
)
FUNCTION = re.compile(r"[A-Za-z]\([a-z]\)")
"""A function's value, as in `f(x)`."""


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
        frame: What two shapes of a kind must have in common besides their parts: the brackets of a tuple or interval
            (`[)`), the number of cells in every row of a matrix (`2x2`). Empty for all other kinds.
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
    r"""The respelt answer without what says nothing, from the outside inwards.

    `$x \in (5)$` is `5`: each step looks at the beginning of the text, which the one before has cleared.
    """
    text = _without_math_mode(respell(text))
    text = _without_membership(text)
    text = _without_approximation(text)
    text = _without_idle_brackets(text)
    return text.strip().removeprefix("+")


def _without_math_mode(text: str) -> str:
    r"""`$1$ or $2$` is `1 or 2`. Dollars without a partner are money: `5$` stays."""
    dollars = len(_DOLLAR.findall(text))
    return respell(_DOLLAR.sub(" ", text)) if dollars and dollars % 2 == 0 else text


def _without_membership(text: str) -> str:
    r"""`x\in[0,1]` is `[0,1]`. With a condition behind it, `x\in A|x>0` says more than the set."""
    member = _MEMBER.match(text)
    return text if member is None or "|" in text else text[member.end() :].strip()


def _without_approximation(text: str) -> str:
    r"""`x=\sqrt{2}\approx 1.41` is `x=\sqrt{2}`; `x\approx 1.41` is `1.41`, as a name alone is no value."""
    found = _APPROXIMATION.fullmatch(text)
    if found is None:
        return text
    exact = found["left"].rpartition("=")[2]
    return found["left"] if exact and not NAME.fullmatch(exact) else found["right"]


def _without_idle_brackets(text: str) -> str:
    """`{5}` and `(5)` are `5`, `{1,2}` is `1,2`; `(1,2)` and `[5]` stay."""
    whole = bracketed(text)
    if whole is None:
        return text
    groups = whole.pair == "{}" or (whole.pair == "()" and len(_items(whole.inside)) == 1)
    return whole.inside if groups else text


@lru_cache(maxsize=REMEMBERED)
def shape(text: str) -> Shape:
    """Takes a tidy answer apart where it binds least: `x=1,y=2` is a list of equations, `x=(1,2)` an equation."""
    return (
        _list(text)
        or _equation(text)
        or _union(text)
        or _matrix(text)
        or _set_or_tuple(text)
        or Shape(kind=Kind.ATOM, text=text)
    )


def _list(text: str) -> Shape | None:
    r"""`1,2`, `1;2`, `1\text{ and }2` have the parts 1 and 2; `1\pm2,5` has `1+2`, `1-2` and 5; `1,234` is no list."""
    items = _items(_CONJUNCTION.sub(",", text), thousands=True)
    if len(items) == 1:
        items = _both_signs(text)
    if len(items) == 1:
        return None
    parts = [part for item in items for part in _both_signs(item) if part]
    return Shape(kind=Kind.LIST, text=text, parts=tuple(parts))


def _both_signs(text: str) -> list[str]:
    r"""`1\pm2\mp3` is `1+2-3` and `1-2+3`; a text without such a sign stands alone."""
    if not _PLUS_MINUS.search(text):
        return [text]
    upper, lower = {"pm": "+", "mp": "-"}, {"pm": "-", "mp": "+"}
    return [_PLUS_MINUS.sub(lambda sign, signs=signs: signs[sign[1]], text).strip() for signs in (upper, lower)]


def _equation(text: str) -> Shape | None:
    """`x=1` has the parts x and 1, and so has `1=x`; `x=1+1=2` has x and 2; `=2` and `x<=2` are no equations."""
    sides = [side.strip() for side in split(text, ("=",))]
    if len(sides) == 1 or not all(sides):
        return None
    first, last = sides[0], sides[-1]
    flipped = NAME.fullmatch(last) is not None and NAME.fullmatch(first) is None
    return Shape(kind=Kind.EQUATION, text=text, parts=(last, first) if flipped else (first, last))


def _union(text: str) -> Shape | None:
    r"""`[1,2]\cup(3,4)` has the parts `[1,2]` and `(3,4)`."""
    sets = tuple(split(text, ("\\cup",)))
    return Shape(kind=Kind.UNION, text=text, parts=sets) if len(sets) > 1 else None


def _matrix(text: str) -> Shape | None:
    r"""`\begin{pmatrix}1&2\\3&4\end{pmatrix}` has four parts and the frame `2x2`; a matrix of matrices is none."""
    matrix = _MATRIX.fullmatch(text)
    if matrix is None or "\\begin" in matrix["body"]:
        return None
    rows = [row.split("&") for row in matrix["body"].removesuffix("\\\\").split("\\\\")]
    cells = tuple(cell for row in rows for cell in row)
    return Shape(kind=Kind.MATRIX, text=text, parts=cells, frame="x".join(str(len(row)) for row in rows))


def _set_or_tuple(text: str) -> Shape | None:
    r"""`\{1,2\}` is a set; `(1,2)`, `[1,2)` and `\langle 1,2\rangle` (as `(1,2)`) are tuples.

    `\{x|x>0\}`, `(x+1)` and `{1,2}` are none of them: their members are not listed, or the brackets only group.
    """
    whole = bracketed(text)
    if whole is None or whole.begin == "{":
        return None
    parts = tuple(_items(whole.inside))
    if whole.begin == "\\{":
        listed = whole.end == "\\}" and not _DESCRIBED.search(whole.inside)
        return Shape(kind=Kind.SET, text=text, parts=parts) if listed else None
    if len(parts) == 1:
        return None
    return Shape(kind=Kind.TUPLE, text=text, parts=parts, frame="()" if whole.begin == "\\langle" else whole.pair)


def _items(text: str, *, thousands: bool = False) -> list[str]:
    """What commas and semicolons separate, without the space around; the text alone if it is no list.

    Args:
        text: The text.
        thousands: Whether a comma may group the digits of one number; inside brackets it always separates.
    """
    numbers = [found.span() for found in THOUSANDS.finditer(text)] if thousands else []
    return [item.strip() for item in split(text, _COMMAS, uncut=numbers)]
