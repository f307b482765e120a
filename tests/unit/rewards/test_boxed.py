r"""The box scanner: nested, escaped, unclosed and interrupted boxes."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treepo.rewards.boxed import BoxScan, boxed_answers, last_boxed

PIECES = st.sampled_from(
    ["\\boxed{", "\\boxed {", "\\", "{", "}", "\\{", "\\}", "\\\\", "box", "ed", "boxed{", " ", "5"]
)


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("", []),
        ("no box {5}", []),
        (r"\boxed{5}", ["5"]),
        (r"so \boxed{5}.", ["5"]),
        (r"\boxed{}", [""]),
        (r"\boxed {5}", ["5"]),
        ("\\boxed \n {5}", ["5"]),
        (r"\boxed5", []),
        (r"\boxed{5", []),
        (r"\boxed{\frac{1}{2}}", [r"\frac{1}{2}"]),
        (r"\boxed{{{{1}}}}", ["{{{1}}}"]),
        (r"\boxed{\{1, 2\}}", [r"\{1, 2\}"]),
        (r"\boxed{\{}", [r"\{"]),
        (r"\boxed{1\}", []),
        (r"\boxed{1 \\}", [r"1 \\"]),
        (r"\boxed{1 \\\}", []),
        (r"\boxed{5}}", ["5"]),
        (r"}{\boxed{5}", ["5"]),
        (r"\boxed{1} and \boxed{2}", ["1", "2"]),
        (r"\boxed{1} and \boxed{2", ["1"]),
        (r"\boxed{no wait, \boxed{5}", ["5"]),
        (r"\boxed{a\boxed{b}c}", [r"a\boxed{b}c", "b"]),
        (r"\boxed{a{\boxed{b}", ["b"]),
        (r"\\boxed{5}", ["5"]),
        ("\\boxed{line\nbreak \\\n}", ["line\nbreak \\\n"]),
        (r"\boxedtext{5}", []),
    ],
)
def test_complete_boxes_are_found(text: str, answers: list[str]):
    assert boxed_answers(text) == answers
    assert last_boxed(text) == (answers[-1] if answers else None)
    assert BoxScan().feed(text).complete == bool(answers)


@pytest.mark.parametrize("text", [r"\boxed{5}", r"\boxed {a\{b\}{c\\}}", r"\boxed{no, \boxed{5}", "\\boxed  \n  {x}"])
def test_a_box_is_found_wherever_the_text_is_cut(text: str):
    for at in range(len(text) + 1):
        scan = BoxScan().feed(text[:at])
        assert scan.complete == (at == len(text)), at
        assert scan.feed(text[at:]).complete, at
    scan = BoxScan()
    for character in text:
        scan = scan.feed(character)
    assert scan.complete


@given(st.lists(PIECES, max_size=12).map("".join), st.lists(st.integers(0, 60), max_size=5))
def test_pieces_give_what_the_whole_gives(text: str, cuts: list[int]):
    scan = BoxScan()
    ends = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for start, end in itertools.pairwise(ends):
        scan = scan.feed(text[start:end])
    whole = BoxScan().feed(text)
    assert scan.complete == whole.complete == bool(boxed_answers(text))
    if not whole.complete:
        assert scan == whole


def test_an_opened_box_is_a_begun_answer():
    assert not BoxScan().feed(r"\boxed").begun
    assert BoxScan().feed(r"\boxed{").begun
    assert not BoxScan().feed(r"\boxed{").complete
    assert BoxScan().feed(r"\boxed{1}").begun


def test_text_without_news_gives_the_same_scan():
    # Paths share their scans; text without a box must not cost an object per node.
    scan = BoxScan()
    assert scan.feed("nothing of interest") is scan


def test_a_scan_never_changes():
    scan = BoxScan().feed(r"\boxed{1")
    assert scan.feed("}").complete
    assert not scan.complete
    assert scan.feed("{}").feed("}").complete
