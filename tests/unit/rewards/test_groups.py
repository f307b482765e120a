"""Grouping answers as the scorer compares them."""

from itertools import permutations

import pytest

from treepo.rewards.groups import group_answers
from treepo.rewards.scoring import LONGEST_ANSWER


@pytest.mark.parametrize(
    ("answers", "groups"),
    [
        (["5", r"5\text{ cm}", "5", r"5\text{ cm}"], [0, 0, 0, 0]),
        ([r"50\text{ cm}", r"0.5\text{ m}", r"0.5\text{ m}^2"], [0, 0, 1]),
        ([r"\dfrac12", r"$\frac12$", "2/4", "0.5", "7"], [0, 0, 0, 0, 1]),
        (["1,234", "1234", "1, 234"], [0, 0, 1]),
        (["(1,2)", "[1,2]", r"\{2,1\}", r"\{1,2\}"], [0, 1, 2, 2]),
        (["x=3", "3", "y=3"], [0, 0, 1]),
        (["A", "B", "A"], [0, 1, 0]),
        (["{", "{"], [0, 0]),
        ([], []),
    ],
)
def test_equal_answers_are_one_group(answers: list[str], groups: list[int]) -> None:
    found = group_answers(answers)
    assert [[one == other for other in found] for one in found] == [
        [one == other for other in groups] for one in groups
    ]


@pytest.mark.parametrize(("more", "fewer"), [("cm", "m"), ("m", "cm")])
def test_a_number_without_unit_goes_with_the_more_frequent_unit_and_the_units_stay_apart(more: str, fewer: str) -> None:
    answers = ["5", rf"5\text{{ {more}}}", rf"5\text{{ {more}}}", rf"5\text{{ {fewer}}}"]
    for order in set(permutations(range(4))):
        found = dict(zip(order, group_answers([answers[place] for place in order]), strict=True))
        assert found[0] == found[1] == found[2] != found[3]


def test_what_reading_cannot_tell_stays_apart_unless_it_is_spelt_alike() -> None:
    first, second, third = group_answers([r"\sqrt{8}", r"2\sqrt{2}", r"$\sqrt{8}$"])
    assert first == third != second


def test_answers_that_are_never_judged_are_told_apart_by_spelling_alone() -> None:
    long = "1+" * LONGEST_ANSWER + "1"
    assert group_answers([long, f"${long}$", long.replace("1", "2")])[:2] == [0, 0]
    assert len(set(group_answers([long, f"${long}$", long.replace("1", "2")]))) == 2
