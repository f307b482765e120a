"""Step 3 of the sampler: the first rule that holds ends the path."""

from typing import Any

import pytest

from treepo.config import TerminationConfig
from treepo.tree import FinishReason
from treepo.tree.termination import classify


def reason(*, answer: str = "boxed_and_eos", priority: str = "first", **facts: Any) -> FinishReason | None:
    plain = {"answer_complete": False, "ended": False, "repeated": False, "length": 1, "depth": 1}
    rules = TerminationConfig.model_validate({"answer": answer, "repetition": {"priority": priority}})
    return classify(rules=rules, max_length=10, max_depth=3, **{**plain, **facts})


EVERYTHING = {"answer_complete": True, "ended": True, "repeated": True, "length": 10, "depth": 3}


@pytest.mark.parametrize(
    ("priority", "without", "expected"),
    [
        ("first", [], FinishReason.REPETITION),
        ("last", [], FinishReason.ANSWERED),
        ("last", ["answer_complete"], FinishReason.EOS),
        ("last", ["ended"], FinishReason.MAX_TOKENS),
        ("last", ["ended", "length"], FinishReason.MAX_DEPTH),
        ("last", ["ended", "length", "depth"], FinishReason.REPETITION),
        ("last", ["ended", "length", "depth", "repeated"], None),
        ("first", ["repeated"], FinishReason.ANSWERED),
    ],
)
def test_rules_are_asked_in_order(priority: str, without: list[str], expected: FinishReason | None):
    facts = {name: value for name, value in EVERYTHING.items() if name not in without}
    assert reason(priority=priority, **facts) is expected


def test_boxed_needs_no_end_of_sequence():
    assert reason(answer="boxed", answer_complete=True) is FinishReason.ANSWERED
    assert reason(answer="boxed", answer_complete=True, ended=True) is FinishReason.ANSWERED
    assert reason(answer="boxed", ended=True) is FinishReason.EOS


def test_boxed_and_eos_goes_on_behind_a_box_until_the_end():
    assert reason(answer_complete=True) is None
    assert reason(answer_complete=True, ended=True) is FinishReason.ANSWERED


@pytest.mark.parametrize(("length", "depth", "expected"), [(9, 2, None), (10, 2, "max_tokens"), (9, 3, "max_depth")])
def test_limits_are_reached_not_passed(length: int, depth: int, expected: str | None):
    assert reason(length=length, depth=depth) == expected
