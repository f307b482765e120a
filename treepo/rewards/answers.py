r"""Comparing answers by reading alone: fast, in the caller's thread, and never in doubt.

Most answers are plain numbers or are spelt like the ground truth, as wholes or part by part. What is left goes to
math-verify (:mod:`treepo.rewards.judge`), which may take any time.
"""

import re

from treepo.rewards.numbers import PlainNumber, plain_number
from treepo.rewards.shapes import THOUSANDS
from treepo.rewards.spelling import FONT, respell, without_font
from treepo.rewards.structure import compare
from treepo.rewards.units import Quantity, quantity

__all__ = ["PlainNumber", "atoms_equal", "bare_value", "plain_number", "quick_verdict", "respell"]

# A broken escape (`\f` for `\frac`) or half a character: nothing that can be read.
_UNREADABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BOX = re.compile(r"\\f?box(?:ed)?(?![A-Za-z])")
_FONTS = re.compile(rf"{FONT}\{{([^{{}}]*)\}}")
_NO_WORDS = re.compile(r"\\(?:begin|end)\{[^{}]*\}|\\[A-Za-z]+")
_WORD = re.compile("[A-Za-z]{4,}")
_FUNCTIONS = frozenset(("sqrt", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "frac", "infty"))
_TEXT = re.compile(r"[A-Za-z][A-Za-z '().-]*|\([A-Za-z]\)")
_SHORT_WORDS = frozenset(("yes", "no", "odd"))
_BASED = re.compile(r"(?P<digits>[0-9A-F]+(?:\.[0-9A-F]+)?)_(?:\{(?P<base>[0-9]{1,2})\}|(?P<b>[0-9]))")
_ORDINAL = re.compile(r"([0-9])(?:\^?\{?\\text\{(?:st|nd|rd|th)\}\}?|\^?\{?(?:st|nd|rd|th)\}?)")
_EMPTY = frozenset(
    ("no solution", "no solutions", "empty set", "no real solution", "no real solutions", "there is no solution")
)


def quick_verdict(gold: str, answer: str) -> bool | None:
    """Compares two answers by spelling, as plain numbers, as texts, and part by part.

    Args:
        gold: The ground truth.
        answer: The answer to judge.

    Returns:
        Whether they are equal, or None where this takes more than reading.
    """
    if _UNREADABLE.search(answer) or not _balanced(answer):
        return False
    return compare(gold, answer, atoms_equal)


def _balanced(answer: str) -> bool:
    depth = 0
    for brace in _BRACE.findall(answer):
        depth += (brace == "{") - (brace == "}")
        if depth < 0:
            return False
    return depth == 0


def atoms_equal(gold: str, answer: str) -> bool | None:
    """The quick verdict on two respelt answers that are not taken apart any further."""
    if gold == answer:
        return True
    texts = [_text(gold), _text(answer)]
    if any(text is not None and len(text) > 1 for text in texts):
        texts = [_text(gold, letters=True), _text(answer, letters=True)]  # beside a word, letters are no product
    if None not in texts:
        return texts[0] == texts[1]
    ours, theirs = _quantity(gold), _quantity(answer)
    if not theirs.value or ours.remark != theirs.remark or ours.measures_otherwise(theirs):
        return False
    if ours.value == theirs.value and ours.scale == theirs.scale and _same_factor(ours, theirs):
        return True
    numbers = plain_number(ours.value), plain_number(theirs.value)
    if numbers[0] is not None and numbers[1] is not None:
        return _scaled(numbers[0], ours, theirs).equals(_scaled(numbers[1], theirs, ours))
    if texts.count(None) < len(texts) and any(numbers) and "e" not in texts:
        return False  # a word is no number
    if ours.scale != theirs.scale or not _same_factor(ours, theirs):
        return False
    based = [_BASED.fullmatch(value) for value in (ours.value, theirs.value)]
    if any(based):
        return _same_digits(ours.value, theirs.value, based)
    if _words(ours.value) != _words(theirs.value) or _BOX.search(theirs.value):
        return False
    return None


def bare_value(answer: str) -> str:
    """What of a respelt answer math-verify should see: no unit, no percent sign, no font around the whole."""
    # math-verify 0.9 cannot read a percent sign inside a box, and means 9% to equal 9 anyway.
    return THOUSANDS.sub(lambda number: number[0].replace(",", ""), _quantity(answer).value.removesuffix(r"\%"))


def _quantity(text: str) -> Quantity:
    return quantity(_ORDINAL.sub(r"\1", without_font(text)) if len(text) < 64 else without_font(text))


def _same_factor(one: Quantity, other: Quantity) -> bool:
    return one.measures is None or other.measures is None or one.factor == other.factor


def _scaled(number: PlainNumber, own: Quantity, other: Quantity) -> PlainNumber:
    """The number in its measure's first unit, where the other side has a unit too."""
    factor = own.scale * (1 if own.measures is None or other.measures is None else own.factor)
    return PlainNumber(value=number.value * factor, decimal=number.decimal, percent=number.percent)


def _same_digits(gold: str, answer: str, based: list[re.Match[str] | None]) -> bool:
    """Numbers in a base: the digits count, and the base where both name one."""
    bases = {int(found["base"] or found["b"]) for found in based if found is not None}
    digits = [found["digits"] if found else value for found, value in zip(based, (gold, answer), strict=True)]
    return len(bases) == 1 and digits[0].lstrip("0") == digits[1].lstrip("0")


def _text(answer: str, *, letters: bool = False) -> str | None:
    """The common spelling of an answer in words (or a lone letter in a font), None for anything else."""
    flat = _FONTS.sub(r"\1", answer).strip().strip("'\".")
    if not _TEXT.fullmatch(flat):
        return r"\emptyset" if flat == r"\emptyset" else None
    letter = re.fullmatch(r"\(?([A-Za-z])\)?", flat)
    if letter is not None:
        return letter[1]  # its case tells one variable from another
    words = re.sub(r"[\s.'-]+", " ", flat).casefold().strip()
    in_font = letters or flat != answer
    if not (in_font or " " in words or _WORD.search(flat) or words in _SHORT_WORDS):
        return None
    if not in_font and any(name in _FUNCTIONS for name in words.split()):
        return None
    words = re.sub(r"^(?:the|an?) (?=.)", "", words)
    return r"\emptyset" if words in _EMPTY else words


def _words(text: str) -> set[str]:
    """The words of an expression that is not a text; no parser should take them for products of letters."""
    plain = _NO_WORDS.sub(" ", _FONTS.sub(r" \1 ", text))
    return {word.casefold() for word in _WORD.findall(plain)} - _FUNCTIONS
