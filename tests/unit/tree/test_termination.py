"""Step 3 of the sampler: the first rule that holds ends the path; and the repetition rule on text."""

import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from random_trees import slow_has_repetition

from treepo.config import TerminationConfig
from treepo.tree import FinishReason
from treepo.tree.termination import classify, has_repetition


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


def test_boxed_and_eos_continues_behind_a_box_until_the_end():
    assert reason(answer_complete=True) is None
    assert reason(answer_complete=True, ended=True) is FinishReason.ANSWERED


@pytest.mark.parametrize(("length", "depth", "expected"), [(9, 2, None), (10, 2, "max_tokens"), (9, 3, "max_depth")])
def test_limits_are_reached_not_passed(length: int, depth: int, expected: str | None):
    assert reason(length=length, depth=depth) == expected


@given(st.text("abc", max_size=60), st.integers(1, 9), st.integers(2, 6), st.integers(0, 60))
@example("abababab", 2, 4, 7)
@example("abababab", 2, 4, 8)
@example("xabxabxab", 2, 3, 0)
@example("aaa", 1, 3, 0)
@example("aaa", 2, 3, 0)
@example("", 1, 2, 0)
def test_the_fast_search_finds_exactly_what_the_slow_one_finds(text: str, substring: int, count: int, new_from: int):
    found = has_repetition(text, substring=substring, count=count, new_from=new_from)
    assert found == slow_has_repetition(text, substring, count, new_from)


@given(st.integers(0, 2**32))
def test_a_planted_repetition_is_found_wherever_it_lies(seed: int):
    draw = random.Random(seed)
    phrase = "".join(draw.choices("abcdefghijklmnop ", k=32))
    text = "".join(phrase + "".join(draw.choices("qrstuvwxyz", k=draw.randint(0, 40))) for _ in range(8))
    assert has_repetition("0123456789" + text, substring=32, count=8, new_from=0)
    assert not has_repetition(text.replace(phrase, "?", 1), substring=32, count=8, new_from=0)


@pytest.mark.parametrize(("times", "repeated"), [(7, False), (8, True), (9, True)])
def test_the_count_is_exact(times: int, repeated: bool):
    phrases = "".join(f"the same thirty-two characters!!{index}" for index in range(times))
    assert has_repetition(phrases, substring=32, count=8, new_from=0) == repeated


def test_occurrences_may_overlap():
    assert not has_repetition("-" * 38, substring=32, count=8, new_from=0)
    assert has_repetition("-" * 39, substring=32, count=8, new_from=0)


def test_an_occurrence_must_end_in_the_new_part():
    assert has_repetition("abcabc.", substring=3, count=2, new_from=5)
    assert not has_repetition("abcabc.", substring=3, count=2, new_from=6)
