"""What math-verify takes for equal and the scorer refuses, class by class, and the like of it that stays right.

These are the classes of docs/scoring.md: outside of them, the scorer never refuses what math-verify accepts.
"""

import pytest
from math_verify import parse, verify

from treepo.rewards.judge import Judge

# Class: pairs (ground truth, answer) that math-verify accepts wrongly, and pairs of the same look that are equal.
CLASSES: dict[str, tuple[list[tuple[str, str]], list[tuple[str, str]]]] = {
    "case of letters": (
        [(r"\delta", r"\Delta"), (r"\pi R^2", r"\pi r^2"), ("x^2+X", "x^2+x"), (r"\omega t", r"\Omega t")],
        [(r"\pi R^2", r"R^2\pi"), (r"\text{Evelyn}", r"\text{evelyn}")],
    ),
    "rounding": (
        [
            (r"\frac{1}{200!}", r"\frac{1}{201!}"),
            (r"\frac{2^{2005}+1}{2^{2006}}", r"\frac{1}{2^{2006}}"),
        ],
        [(r"\frac{1}{200!}", r"\frac{201}{201!}"), (r"\sqrt{5+2\sqrt{6}}", r"\sqrt{2}+\sqrt{3}"), (r"\pi", "3.141593")],
    ),
    "decimals below six places": ([("0.0000001", "0.0000002")], [("0.0000002", r"\frac{2}{10000000}")]),
    "equations to be solved": (
        [("5", "2x+3=5"), ("10", "2x=10"), ("4", "x^2=4"), ("x^2+1", "0=x^2+1")],
        [("5", "2+3=5"), ("5", "x=5"), ("5", r"\vec{a}\cdot\vec{b}=5"), ("x^2+2x+1", "(x+1)^2=x^2+2x+1")],
    ),
    "values without their names": ([("x=1, y=2", "2, 1")], [("x=1, y=2", "1, 2"), ("x=1, y=2", "y=2, x=1")]),
    "repeated parts": ([("1,2,2", "1,1,2"), ("1,2", "1,2,2")], [("1,2,2", "2,1,2")]),
    "order and ends": (
        [("(1,2)", r"\{1,2\}"), (r"[1,\infty)", r"[1,\infty]")],
        [("(1,2)", "1,2"), (r"\{1,2\}", r"\{2,1\}"), (r"[1,\infty)", r"x\ge 1")],
    ),
    "units": (
        [(r"12\text{ cm}^2", r"12\text{ cm}"), (r"12\text{ m}", r"12\text{ cm}"), (r"30\text{ cm}", r"30^\circ")],
        [(r"12\text{ cm}", "12"), (r"0.5\text{ m}", r"50\text{ cm}")],
    ),
    "letters for units": (
        [
            ("3", "3t"),
            ("3s", "3"),
            ("5", r"5\mathrm{x}"),
            (r"3\mathbf{a}", r"3\mathbf{b}"),
            (r"3\mathbf{s}", "3"),
            ("5", r"5\mathrm{i}"),
        ],
        [("3", r"3\mathrm{m}"), ("3t", r"3\mathrm{t}")],
    ),
    "remarks and scale words": (
        [("5", r"5\text{ tenths}"), ("5", r"5\text{ or less}"), ("5", r"5\text{ million}")],
        [("5", r"5\text{ apples}"), ("5000000", r"5\text{ million}")],
    ),
    "degrees as radians": (
        [(r"\cos 58^\circ", r"\cos 58")],
        [(r"\cos 58^\circ", r"\sin 32^\circ"), ("90", r"90^\circ")],
    ),
    "bases": ([("1011_3", "1011_2")], [("1011_2", "1011_{2}"), ("1011_2", "1011")]),
    "words as products of letters": ([("on", "no"), ("listen", "silent")], [("ab", "ba"), ("no", r"\text{No}")]),
    "half a fraction, a second box": (
        [(r"\frac{1}{2}", r"\frac{1}{2"), ("5", r"7\fbox{5}")],
        [(r"\frac{1}{2}", r"\frac12")],
    ),
    "a fraction behind a space": ([("1 1/2", "1")], [("1 1/2", "3/2")]),
}


def _accepted(judge: Judge, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [pair for pair, (correct, _) in zip(pairs, judge.rule_all(pairs), strict=True) if correct]


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_one_of_math_verify_s_own_false_positives_and_is_refused(judge: Judge, name: str) -> None:
    refused, _ = CLASSES[name]
    boxes = [[parse(rf"\boxed{{{text}}}", parsing_timeout=None) for text in pair] for pair in refused]  # type: ignore[arg-type]
    assert [
        pair
        for pair, (gold, answer) in zip(refused, boxes, strict=True)
        if not verify(gold, answer, timeout_seconds=None)
    ] == []
    assert _accepted(judge, refused) == []


@pytest.mark.parametrize("name", CLASSES)
def test_what_only_looks_like_the_class_stays_right(judge: Judge, name: str) -> None:
    _, equal = CLASSES[name]
    assert _accepted(judge, equal) == equal
