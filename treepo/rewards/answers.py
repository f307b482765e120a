r"""Comparing answers by their spelling alone: fast, in the caller's thread, and never in doubt.

Most answers are plain numbers or are spelt like the ground truth. What is left goes to math-verify
(:mod:`treepo.rewards.judge`), which may take any time. On plain numbers the verdict is the one math-verify would give:
whole numbers and fractions agree exactly, decimals to six places, ``5\%`` stands for 5 as well as for 0.05.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

DECIMAL_PLACES = 6

_SPELLINGS = [
    (re.compile(r"\\[dt]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:left|right)(?![A-Za-z])"), ""),
    (re.compile(r"(?<!\\)\\(?:[!,;: ]|quad(?![A-Za-z])|qquad(?![A-Za-z])|displaystyle(?![A-Za-z]))|~"), " "),
    (re.compile(r"\\varnothing(?![A-Za-z])"), r"\\emptyset"),
    (re.compile(r"(?<=\d)\{,\}(?=\d)"), ","),
    (re.compile("[\N{MINUS SIGN}\N{EN DASH}]"), "-"),
    (re.compile(r"\s+"), " "),
    (re.compile(r" ?(?:\\?%|(?:\\text\{)? ?percent\}?)$"), r"\\%"),
    # White space says something only between two letters or digits (`1 1/2`, `no solution`).
    (re.compile(r"(?<![A-Za-z0-9$]) | (?![A-Za-z0-9$])"), ""),
]
_FONT = re.compile(r"\\(?:text|mathrm|textbf|mathbf|textit|mathit|textrm)\{([^{}]*)\}")
_MATH_MODE = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))

_NUMBER = re.compile(
    r"""(?P<sign>[+-]?)(?:\\?\$)?
    (?:
        (?P<whole>\d{1,3}(?:,\d{3})+|\d+)(?P<decimals>\.\d+)?
      | (?P<bare>\.\d+)
      | (?:(?P<mixed>\d+)\ ?)?(?P<minus>-?)(?:\\frac\{(?P<top>\d+)\}\{(?P<bottom>\d+)\}|\\frac(?P<t>\d)(?P<b>\d))
      | \\frac\{-(?P<negative>\d+)\}\{(?P<under>\d+)\}
      | (?:(?P<before>\d+)\ )?(?P<numerator>\d+)/(?P<denominator>\d+)
    )
    (?P<percent>\\%)?""",
    re.VERBOSE,
)
_LONGEST_NUMBER = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainNumber:
    """A number as it was written: its value without the percent sign, and whether it is a decimal."""

    value: Fraction
    decimal: bool
    percent: bool

    def equals(self, other: "PlainNumber") -> bool:
        """Whether the two are equal in some reading of their percent signs."""
        if self.percent != other.percent:
            percent, bare = (self, other) if self.percent else (other, self)
            decimal = percent.decimal or bare.decimal
            return any(_agree(value, bare.value, decimal) for value in (percent.value, percent.value / 100))
        return _agree(self.value, other.value, self.decimal or other.decimal)


def _agree(one: Fraction, other: Fraction, decimal: bool) -> bool:
    return one == other or (decimal and round(one, DECIMAL_PLACES) == round(other, DECIMAL_PLACES))


def respell(answer: str) -> str:
    """Rewrites an answer into the common spelling: no math mode around it, no idle space, one name per command."""
    text = answer.strip()
    for begin, end in _MATH_MODE:
        inner = text[len(begin) : -len(end)]
        if text == begin + inner + end and begin not in inner:
            text = inner
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    return text[:-1] if text.endswith(".") and not text.endswith("..") else text


def _bare(answer: str) -> str:
    """The respelt answer without a font around the whole of it."""
    text = respell(answer)
    font = _FONT.fullmatch(text)
    return font[1].strip() if font else text


def plain_number(text: str) -> PlainNumber | None:
    """Reads an integer, decimal, fraction or mixed number, with thousands separators, currency or percent sign.

    Args:
        text: A respelt answer.

    Returns:
        The number, or None where the text is anything else, a division by zero included.
    """
    found = _NUMBER.fullmatch(text) if len(text) <= _LONGEST_NUMBER else None
    if found is None:
        return None
    part = found.groupdict(default="")
    if part["whole"] or part["bare"]:
        value = Fraction(part["whole"].replace(",", "") + part["decimals"] + part["bare"])
    else:
        if part["mixed"] and part["minus"]:
            return None  # `5-\frac12` is a difference
        numerator = int(part["top"] or part["t"] or part["negative"] or part["numerator"])
        denominator = int(part["bottom"] or part["b"] or part["under"] or part["denominator"])
        if denominator == 0:
            return None
        value = int(part["mixed"] or part["before"] or 0) + Fraction(numerator, denominator)
        if part["minus"] or part["negative"]:
            value = -value
    return PlainNumber(
        value=-value if part["sign"] == "-" else value,
        decimal=bool(part["decimals"] or part["bare"]),
        percent=bool(part["percent"]),
    )


def quick_verdict(gold: str, answer: str) -> bool | None:
    """Compares two answers by spelling and as plain numbers.

    Args:
        gold: The ground truth.
        answer: The answer to judge.

    Returns:
        Whether they are equal, or None where this takes more than reading.
    """
    gold, answer = _bare(gold), _bare(answer)
    if not answer:
        return False
    if gold == answer:
        return True
    gold_number, number = plain_number(gold), plain_number(answer)
    if gold_number is None or number is None:
        return None
    return gold_number.equals(number)
