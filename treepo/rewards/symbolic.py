"""Comparing with math-verify, without any limit; runs in the judging process.

Letters keep their case, and one reading more is tried than math-verify's own: `i` as the imaginary unit, roots of
products as products of roots. Of what math-verify then takes for equal, two classes are refused: what only its rounding
makes equal, and single names that differ in case.
"""

import re
from typing import Any

from treepo.rewards.answers import compare
from treepo.rewards.spelling import FONT_GROUP

TOLERANCE = 1e-9
"""Two values that are both exact must agree to so many digits, relative to the larger ..."""
SMALL_TOLERANCE = 5e-3
"""... and where one is a decimal, to three significant digits or six places, whichever is stricter."""
SMALL = 1e-3
DIGITS = 40
"""Digits with which values are worked out."""

_DEGREES = re.compile(r"([0-9.]+[a-z]?|\([^()]*\)|(?<![A-Za-z\\])[a-z]|\\(?:theta|alpha|beta|phi|varphi))\^\\circ ?")
_INDEXED = re.compile(r"(\\[A-Za-z]+|[A-Za-z}])_\{([^{}]*)\}")
_LIMITS = re.compile(r"\\(?:log|sum|prod|int|lim|max|min|bigcup|bigcap)")
_GAMMA = re.compile(r"\\([gG]amma)(?![A-Za-z(])")


def settle(gold: str, answer: str) -> bool:
    """Whether an answer equals the ground truth: part by part, by reading where that decides."""
    return bool(compare(gold, answer, math_verify_equal))


def math_verify_equal(gold: str, answer: str) -> bool:
    """Parses two expressions in the common spelling and compares them."""
    from math_verify import verify

    left, right = _read(gold), _read(answer)
    if left is None or right is None:
        return False
    return any(
        verify(one, other, timeout_seconds=None, allow_set_relation_comp=True) and not _only_rounded(one, other)
        for one, other in _readings(left, right)
    )


def _read(text: str) -> Any:
    """The expression that a text is, None where math-verify's parser cannot read it."""
    from latex2sympy2_extended import NormalizationConfig, latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig
    from sympy import Basic, MatrixBase

    text = _DEGREES.sub(r"(\1\\cdot\\frac{\\pi}{180})", text)
    text = FONT_GROUP.sub(lambda group: group[1] if len(group[1]) == 1 else group[0], text)
    text = _INDEXED.sub(_index, text)
    text = _GAMMA.sub(r"\\text{\1s}", text)  # it reads both as Euler's constant
    text = text.replace(",", ", ")  # without the space, `(1,234)` is one number
    normalization = NormalizationConfig(basic_latex=True, malformed_operators=True, nits=True, boxed="none")
    conversion = ConversionConfig(lowercase_symbols=False)
    try:
        parsed = latex2sympy(text, is_real=True, normalization_config=normalization, conversion_config=conversion)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # the parser raises bare ones, and whatever a text makes it stumble over
        return None
    return parsed if isinstance(parsed, Basic | MatrixBase) else None


def _index(found: re.Match[str]) -> str:
    if _LIMITS.fullmatch(found[1]):
        return found[0]
    base = r"\text{E}" if found[1] == "E" else found[1]
    return f"{base}_{{{re.sub(r'[^A-Za-z0-9+,-]', '', found[2])}}}"


def _readings(left: Any, right: Any) -> list[tuple[Any, Any]]:
    """The pairs to compare: as they are, with `i` as the imaginary unit, with the roots of products taken apart."""
    from sympy import I, Pow, Symbol

    if isinstance(left, Symbol) and isinstance(right, Symbol) and left.name.casefold() == right.name.casefold():
        return [(left, right)] if left.name == right.name else []
    pairs = [(left, right)]
    unit = Symbol("i", real=True)
    if unit in left.free_symbols | right.free_symbols:
        pairs.append((left.subs(unit, I), right.subs(unit, I)))
    if any(power.free_symbols and not power.exp.is_integer for power in left.atoms(Pow) | right.atoms(Pow)):
        pairs.append((_roots_apart(left), _roots_apart(right)))
    return pairs


def _roots_apart(expression: Any) -> Any:
    r"""`\sqrt{a/b}` as `\sqrt{a}/\sqrt{b}`, wherever it is real the same; `\sqrt{x^2}` stays the absolute value."""
    from sympy import Expr, Pow, expand_power_base, together

    if not isinstance(expression, Expr):
        return expression
    whole = expression.doit().replace(
        lambda part: isinstance(part, Pow) and part.exp.is_Rational and not part.exp.is_Integer,
        lambda part: together(part.base) ** part.exp,
    )
    return expand_power_base(whole, force=True).replace(
        lambda part: isinstance(part, Pow) and isinstance(part.base, Pow) and part.base.exp == -1,
        lambda part: part.base.base**-part.exp,
    )


def _only_rounded(one: Any, other: Any) -> bool:
    """Whether two expressions differ by more than rounding, worked out exactly with primes for their letters.

    math-verify calculates with 15 digits, and with 6 places beside a decimal; what is below counts for nothing there:
    `e^{-100}` for 0, `1/200!` for `1/201!`.
    """
    from sympy import Float, MatrixBase, prime

    if isinstance(one, MatrixBase) and isinstance(other, MatrixBase):
        return one.shape == other.shape and any(map(_only_rounded, one.flat(), other.flat()))
    letters = sorted(one.free_symbols | other.free_symbols, key=str)
    numbers = {letter: prime(place) for place, letter in enumerate(letters, 1)}
    values = [_value(side, numbers) for side in (one, other)]
    if None in values:
        return False
    largest, difference = max(map(abs, values)), abs(values[0] - values[1])
    if one.has(Float) or other.has(Float):
        return bool(largest < SMALL and difference > SMALL_TOLERANCE * largest)
    return bool(difference > TOLERANCE * largest)


def _value(expression: Any, numbers: dict[Any, Any]) -> Any:
    """The number that an expression is, None for anything else and where the digits cancel out."""
    from sympy import Expr, Float

    if not isinstance(expression, Expr):
        return None
    try:
        value = expression.subs(numbers).doit().evalf(DIGITS)
    except (ArithmeticError, AttributeError, NotImplementedError, TypeError, ValueError):
        return None  # sympy has no value for it
    exact = value.is_number and value.is_finite and all(part._prec > 1 for part in value.atoms(Float))
    return value if exact else None
