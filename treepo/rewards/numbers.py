r"""Reading plain numbers exactly: integers, decimals, fractions, mixed numbers, scientific notation."""

import re
from fractions import Fraction
from typing import NamedTuple

CLOSE = Fraction(1, 2_000_000)
"""Two numbers, one of them a decimal, agree where they are the same to six decimal places ..."""
CLOSE_SMALL = Fraction(1, 200)
"""... and, for small ones, to three significant digits as well."""
LARGEST_EXPONENT = 400
_LONGEST_NUMBER = 100

_DECIMAL = re.compile(
    r"([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)(?:(?: ?(?:\\times|\\cdot|\*|x) ?10\^|[eE])\{?([+-]?[0-9]+)\}?)?(\\%)?"
)
_POWER_OF_TEN = re.compile(r"^([+-]?)10\^(?=\{[+-]?[0-9]+\}$)")
_FRAC = re.compile(r"\\frac\{(-?[0-9]+)\}\{(-?[0-9]+)\}")
_FRACTION = re.compile(r"([+-]?) ?(?:([0-9]+) )?\(?(-?[0-9]+)\)?/\(?(-?[0-9]+)\)?(\\%)?")


class PlainNumber(NamedTuple):
    """A number as it was written: its value without the percent sign, and whether it is a decimal."""

    value: Fraction
    decimal: bool
    percent: bool

    def equals(self, other: "PlainNumber") -> bool:
        r"""Whether the two are equal in some reading of their percent signs.

        With one percent sign between them, ``5\%`` may stand for 5 as well as for 0.05; otherwise the signs say the
        same and the values count. Decimals count to six places and, small ones, to three significant digits.
        """
        sizes = (1,) if self.percent == other.percent else (1, Fraction(1, 100))
        pairs = [
            (self.value * (size if self.percent else 1), other.value * (size if other.percent else 1)) for size in sizes
        ]
        if not (self.decimal or other.decimal):
            return any(one == another for one, another in pairs)
        return any(abs(a - b) <= min(CLOSE, CLOSE_SMALL * max(abs(a), abs(b))) for a, b in pairs)


def plain_number(text: str) -> PlainNumber | None:
    """Reads a number, with or without a percent sign.

    Args:
        text: A respelt answer.

    Returns:
        The number, or None where the text is anything else, a division by zero included.
    """
    if len(text) > _LONGEST_NUMBER or not text.isascii():
        return None
    found = _DECIMAL.fullmatch(_POWER_OF_TEN.sub(r"\g<1>1e", text))
    if found is not None:
        sign, digits, exponent, percent = found.groups(default="")
        if abs(int(exponent or 0)) > LARGEST_EXPONENT:
            return None
        value = Fraction(sign + digits.rstrip(".")) * Fraction(10) ** int(exponent or 0)
        return PlainNumber(value, bool(digits.partition(".")[2]) or exponent.startswith("-"), bool(percent))
    found = _FRACTION.fullmatch(_FRAC.sub(r" \1/\2", text).strip())
    if found is None or int(found[4]) == 0 or (found[2] and "-" in found[3] + found[4]):
        return None
    value = int(found[2] or 0) + Fraction(int(found[3]), int(found[4]))
    return PlainNumber(-value if found[1] == "-" else value, decimal=False, percent=bool(found[5]))
