r"""Reading plain numbers exactly: integers, decimals, fractions, mixed numbers, scientific notation, ratios."""

import re
from dataclasses import dataclass
from fractions import Fraction

CLOSE = Fraction(1, 2_000_000)
"""Two numbers, one of them a decimal, agree where they are the same to six decimal places ..."""
CLOSE_SMALL = Fraction(1, 200)
"""... and, for small ones, to three significant digits as well."""
LARGEST_EXPONENT = 400

_NUMBER = re.compile(
    r"""(?P<sign>[+-]?)(?:\\?\$)?
    (?:
        (?P<whole>[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?P<decimals>\.[0-9]*)?
            (?:(?:\ ?(?:\\times|\\cdot|\*|x)\ ?10\^|[eE])(?P<exponent>\{[+-]?[0-9]+\}|[+-]?[0-9]+))?
      | (?P<bare>\.[0-9]+)
      | (?:(?P<mixed>[0-9]+)\ ?)?(?P<minus>-?)
            (?:\\frac\{(?P<top>[0-9]+)\}\{(?P<bottom>[0-9]+)\}|\\frac(?P<t>[0-9])(?P<b>[0-9]))
      | \\frac\{-(?P<negative>[0-9]+)\}\{(?P<under>[0-9]+)\}
      | (?:(?P<before>[0-9]+)\ )?(?P<numerator>[0-9]+)/(?P<denominator>[0-9]+)
      | (?P<first>[0-9]+):(?P<second>[1-9][0-9]*)
    )
    (?P<percent>\\%)?""",
    re.VERBOSE,
)
_POWER_OF_TEN = re.compile(r"([+-]?)10\^(\{[+-]?[0-9]+\}|[+-]?[0-9]+)")
_LONGEST_NUMBER = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainNumber:
    """A number as it was written: its value without the percent sign, and whether it is a decimal."""

    value: Fraction
    decimal: bool
    percent: bool

    def equals(self, other: "PlainNumber") -> bool:
        r"""Whether the two are equal in some reading of their percent signs.

        With one percent sign between them, ``5\%`` may stand for 5 as well as for 0.05; otherwise the signs say the
        same and the values count.
        """
        decimal = self.decimal or other.decimal
        if self.percent != other.percent:
            percent, bare = (self, other) if self.percent else (other, self)
            return any(agree(value, bare.value, decimal=decimal) for value in (percent.value, percent.value / 100))
        return agree(self.value, other.value, decimal=decimal)


def agree(one: Fraction, other: Fraction, *, decimal: bool) -> bool:
    """Whether two values are equal; decimals to six places and, where small, to three significant digits."""
    difference = abs(one - other)
    return difference == 0 or (decimal and difference <= min(CLOSE, CLOSE_SMALL * max(abs(one), abs(other))))


def plain_number(text: str) -> PlainNumber | None:
    """Reads a number, with thousands separators, a dollar sign or a percent sign.

    Args:
        text: A respelt answer.

    Returns:
        The number, or None where the text is anything else, a division by zero included.
    """
    if len(text) > _LONGEST_NUMBER:
        return None
    power = _POWER_OF_TEN.fullmatch(text)
    if power is not None:
        text = f"{power[1]}1e{power[2].strip('{}')}"
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    part = found.groupdict(default="")
    value = _decimal(part) if part["whole"] or part["bare"] else _ratio(part)
    if value is None:
        return None
    return PlainNumber(
        value=-value if part["sign"] == "-" else value,
        decimal=bool(part["decimals"].strip(".") or part["bare"] or "-" in part["exponent"]),
        percent=bool(part["percent"]),
    )


def _decimal(part: dict[str, str]) -> Fraction | None:
    value = Fraction(part["whole"].replace(",", "") + part["decimals"].rstrip(".") + part["bare"])
    exponent = int(part["exponent"].strip("{}") or 0)
    return value * Fraction(10) ** exponent if abs(exponent) <= LARGEST_EXPONENT else None


def _ratio(part: dict[str, str]) -> Fraction | None:
    if part["mixed"] and part["minus"]:
        return None  # `5-\frac12` is a difference
    numerator = int(part["top"] or part["t"] or part["negative"] or part["numerator"] or part["first"])
    denominator = int(part["bottom"] or part["b"] or part["under"] or part["denominator"] or part["second"])
    if denominator == 0:
        return None
    value = int(part["mixed"] or part["before"] or 0) + Fraction(numerator, denominator)
    return -value if part["minus"] or part["negative"] else value
