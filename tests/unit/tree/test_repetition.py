"""The repetition rule on text."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from random_trees import slow_has_repetition

from treepo.tree.repetition import has_repetition


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
