"""The repetition rule on text."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from random_trees import slow_has_repetition

from treepo.tree.repetition import has_repetition


@given(st.text("ab", max_size=60), st.integers(1, 6), st.integers(2, 5))
@example("abababab", 2, 4)
@example("xabxabxab", 2, 3)
@example("aaa", 1, 3)
def test_the_fast_search_finds_exactly_what_the_slow_one_finds(text: str, substring: int, count: int):
    assert has_repetition(text, substring=substring, count=count) == slow_has_repetition(text, substring, count)


@given(st.integers(0, 2**32))
def test_a_planted_repetition_is_found_wherever_it_lies(seed: int):
    draw = random.Random(seed)
    phrase = "".join(draw.choices("abcdefghijklmnop ", k=32))
    text = "".join(phrase + "".join(draw.choices("qrstuvwxyz", k=draw.randint(0, 40))) for _ in range(8))
    assert has_repetition("0123456789" + text, substring=32, count=8)
    assert not has_repetition(text.replace(phrase, "?", 1), substring=32, count=8)


@pytest.mark.parametrize(("times", "repeated"), [(7, False), (8, True), (9, True)])
def test_the_count_is_exact(times: int, repeated: bool):
    assert has_repetition("the same thirty-two characters!!" * times, substring=32, count=8) == repeated


def test_occurrences_do_not_overlap():
    # 39 dashes hold a row of 32 eight times over, but not eight times side by side: a rule in a table is no repetition.
    assert not has_repetition("-" * 255, substring=32, count=8)
    assert has_repetition("-" * 256, substring=32, count=8)
