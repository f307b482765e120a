r"""Comparing answers that have parts: lists, sets, tuples, intervals, unions, matrices, equations.

Comparing goes part by part, so that a list of plain numbers is as fast as a number, brackets and order are this
project's rule and not a parser's, and only the parts that need it reach a slower judge. The judge of the parts is
injected; it may be unsure (None), and then so is the whole, unless another part already decides.
"""

import re
from collections.abc import Callable, Sequence

from treepo.rewards.shapes import FUNCTION, Kind, Shape, shape, tidy

Leaf = Callable[[str, str], bool | None]

DEEPEST = 6
"""Brackets in brackets that are taken apart; what is deeper is compared whole."""
MOST_UNORDERED = 24
"""Parts of a list that are matched in any order; longer ones must keep the order."""


def compare(gold: str, answer: str, leaf: Leaf, depth: int = 0) -> bool | None:
    """Compares two answers part by part.

    Args:
        gold: The ground truth.
        answer: The answer to judge.
        leaf: Compares two parts that cannot be taken apart; None where it is unsure.
        depth: Brackets around the two.

    Returns:
        Whether they are equal, or None where the leaf is unsure and no other part decides.
    """
    gold, answer = tidy(gold), tidy(answer)
    if not answer or not gold:
        return False
    if gold == answer:
        return True
    if depth > DEEPEST:
        return leaf(gold, answer)

    def inner(one: str, other: str) -> bool | None:
        return compare(one, other, leaf, depth + 1)

    left, right = shape(gold), shape(answer)
    if Kind.EQUATION in (left.kind, right.kind):
        return _compare_equations(left, right, inner, leaf)
    return _compare_shapes(left, right, inner, leaf)


def _compare_shapes(gold: Shape, answer: Shape, inner: Leaf, leaf: Leaf) -> bool | None:
    unordered = (Kind.LIST, Kind.SET)
    match gold.kind, answer.kind:
        case (Kind.ATOM, Kind.ATOM):
            return leaf(gold.text, answer.text)
        case (Kind.MATRIX, Kind.MATRIX):
            return gold.frame == answer.frame and _in_order(gold.parts, answer.parts, inner)
        case (Kind.TUPLE, Kind.TUPLE):
            return gold.frame == answer.frame and _in_order(gold.parts, answer.parts, inner)
        case (Kind.LIST, Kind.TUPLE) | (Kind.TUPLE, Kind.LIST):
            return "()" in (gold.frame, answer.frame) and _in_order(gold.parts, answer.parts, inner)
        case (Kind.UNION, Kind.UNION) | (Kind.UNION, Kind.LIST) | (Kind.LIST, Kind.UNION):
            # [1,2] and [2,3] together are [1,3]: other parts may still make the same whole.
            return _in_any_order(gold.parts, answer.parts, inner) or leaf(gold.text, answer.text)
        case (one, other) if one in unordered and other in unordered:
            ordered = _names_several(gold.parts) != _names_several(answer.parts)
            return (_in_order if ordered else _in_any_order)(gold.parts, answer.parts, inner)
        case (Kind.SET, Kind.ATOM) if len(gold.parts) == 1:
            return inner(gold.parts[0], answer.text)
        case (Kind.ATOM, Kind.SET) if len(answer.parts) == 1:
            return inner(gold.text, answer.parts[0])
        case (Kind.TUPLE | Kind.UNION, Kind.ATOM) | (Kind.ATOM, Kind.TUPLE | Kind.UNION):
            return leaf(gold.text, answer.text)  # `x>1` and `(1,\infty)`
        case (Kind.UNION, Kind.TUPLE) | (Kind.TUPLE, Kind.UNION) | (Kind.SET, Kind.UNION) | (Kind.UNION, Kind.SET):
            return leaf(gold.text, answer.text)
    return False


def _compare_equations(gold: Shape, answer: Shape, inner: Leaf, leaf: Leaf) -> bool | None:
    if gold.kind is answer.kind:
        if gold.defines and answer.defines:
            if _same_name(gold.parts[0], answer.parts[0]):
                return inner(gold.parts[1], answer.parts[1])
            if len(gold.parts[0]) == len(answer.parts[0]) == 1:
                return False
        return leaf(gold.text, answer.text)
    equation, other = (gold, answer) if gold.kind is Kind.EQUATION else (answer, gold)
    # `2+3=5` says 5 as well; `2x+3=5` does not.
    if not equation.defines and re.search("[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", equation.parts[0])):
        return False
    value = equation.parts[1]
    return inner(value, other.text) if equation is gold else inner(other.text, value)


def _same_name(one: str, other: str) -> bool:
    def y(name: str) -> str:
        return "y" if FUNCTION.fullmatch(name) else name

    return one.replace(" ", "") == other.replace(" ", "") or y(one) == y(other) == "y"


def _names_several(parts: Sequence[str]) -> bool:
    """Whether the parts give values to different names, as in `x=1,y=2`."""
    equations = [shape(part) for part in parts]
    return len({equation.parts[0] for equation in equations if equation.defines}) > 1


def _in_order(gold: Sequence[str], answer: Sequence[str], inner: Leaf) -> bool | None:
    if len(gold) != len(answer):
        return False
    unsure = False
    for one, other in zip(gold, answer, strict=True):
        verdict = inner(one, other)
        if verdict is False:
            return False
        unsure |= verdict is None
    return None if unsure else True


def _in_any_order(gold: Sequence[str], answer: Sequence[str], inner: Leaf) -> bool | None:
    if len(gold) != len(answer):
        return False
    if len(gold) > MOST_UNORDERED:
        return _in_order(gold, answer, inner)
    verdicts = [[inner(one, other) for other in answer] for one in gold]
    if _matched([[verdict is True for verdict in row] for row in verdicts]):
        return True
    return None if _matched([[verdict is not False for verdict in row] for row in verdicts]) else False


def _matched(fits: Sequence[Sequence[bool]]) -> bool:
    """Whether every row finds a column of its own (augmenting paths)."""
    owner: dict[int, int] = {}

    def place(row: int, tried: set[int]) -> bool:
        for column, fit in enumerate(fits[row]):
            if fit and column not in tried:
                tried.add(column)
                if column not in owner or place(owner[column], tried):
                    owner[column] = row
                    return True
        return False

    return all(place(row, set()) for row in range(len(fits)))
