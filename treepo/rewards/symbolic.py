"""Comparing with math-verify, without any limit; runs in the judging process.

math-verify sees only parts that reading cannot decide, without units. Two of its habits are kept from deciding: it
takes a trailing letter for a unit (`3t` for 3), and numbers that round to the same six places for equal (`e^{-100}`
and 0).
"""

from functools import lru_cache
from typing import Any

from treepo.rewards.answers import atoms_equal, bare_value
from treepo.rewards.structure import compare

SMALL = 1e-3
SMALL_TOLERANCE = 5e-3
"""Below :data:`SMALL`, two numbers must agree to three significant digits."""


def settle(gold: str, answer: str) -> bool:
    """Whether an answer equals the ground truth: part by part, by reading where that decides."""
    return bool(compare(gold, answer, _equal))


def _equal(gold: str, answer: str) -> bool:
    verdict = atoms_equal(gold, answer)
    return math_verify_equal(bare_value(gold), bare_value(answer)) if verdict is None else verdict


def math_verify_equal(gold: str, answer: str) -> bool:
    """Parses both and compares them.

    Only the answer as a whole is parsed: nothing is searched for in a text, so that a list of guesses is no answer.
    """
    from math_verify import verify

    left, right = _read(gold), _read(answer)
    equal = verify(left, right, timeout_seconds=None, allow_set_relation_comp=True)
    return equal and not _differ_in_small(left, right)


@lru_cache(maxsize=1)
def _configuration() -> list[Any]:
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig

    normalization = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all", equations=False
    )
    return [LatexExtractionConfig(boxed_match_priority=0, normalization_config=normalization)]


def _read(text: str) -> list[Any]:
    from math_verify import parse

    return parse(rf"\boxed{{{text}}}", _configuration(), parsing_timeout=None)  # type: ignore[arg-type]


def _differ_in_small(gold: list[Any], answer: list[Any]) -> bool:
    """Whether both are numbers near zero that only rounding makes equal."""
    values = [_magnitude(parsed) for parsed in (gold, answer)]
    if None in values:
        return False
    one, other = (value for value in values if value is not None)
    return abs(one - other) > SMALL_TOLERANCE * max(abs(one), abs(other)) and max(abs(one), abs(other)) < SMALL


def _magnitude(parsed: list[Any]) -> float | None:
    number = next((item for item in parsed if getattr(item, "is_number", False)), None)
    if number is None:
        return None
    value = number.doit().evalf(15)
    if not value.is_finite:
        return None
    try:
        exact = complex(value)
    except TypeError:  # it stays symbolic
        return None
    return exact.real if exact.imag == 0 else None
