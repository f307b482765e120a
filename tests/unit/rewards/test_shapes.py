"""What is taken off an answer, and into which parts it is taken: one case per rule."""

import pytest

from treepo.rewards.brackets import bracketed, split, tokens
from treepo.rewards.shapes import Kind, shape, tidy


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("$1$ or $2$", "1 or 2"),
        ("5$", "5$"),
        (r"x \in [0, 1]", "[0,1]"),
        (r"f(x)\in(0,1)", "(0,1)"),
        (r"x\in A|x>0", r"x\in A|x>0"),
        (r"x=\sqrt{2}\approx 1.41", r"x=\sqrt{2}"),
        (r"x\approx 1.41", "1.41"),
        (r"\approx 1.41", "1.41"),
        ("{5}", "5"),
        ("(5)", "5"),
        ("{1,2}", "1,2"),
        ("(1,2)", "(1,2)"),
        ("[5]", "[5]"),
        ("(1)+(2)", "(1)+(2)"),
        ("+5", "5"),
        (r"$x \in (5)$", "5"),
    ],
)
def test_what_says_nothing_is_taken_off(written: str, kept: str) -> None:
    assert tidy(written) == kept


@pytest.mark.parametrize(
    ("text", "kind", "parts", "frame"),
    [
        ("1,2;3", Kind.LIST, ("1", "2", "3"), ""),
        (r"1\text{ and }2", Kind.LIST, ("1", "2"), ""),
        ("1 or 2", Kind.LIST, ("1", "2"), ""),
        (r"1\pm2\mp3", Kind.LIST, ("1+2-3", "1-2+3"), ""),
        (r"1\pm2,5", Kind.LIST, ("1+2", "1-2", "5"), ""),
        ("1,", Kind.LIST, ("1",), ""),
        ("x=1,y=2", Kind.LIST, ("x=1", "y=2"), ""),
        ("1,234", Kind.ATOM, (), ""),
        ("1,234,5", Kind.LIST, ("1,234", "5"), ""),
        ("x=1", Kind.EQUATION, ("x", "1"), ""),
        ("1=x", Kind.EQUATION, ("x", "1"), ""),
        ("x=1+1=2", Kind.EQUATION, ("x", "2"), ""),
        ("x=(1,2)", Kind.EQUATION, ("x", "(1,2)"), ""),
        ("=2", Kind.ATOM, (), ""),
        ("x<=2", Kind.ATOM, (), ""),
        (r"[1,2]\cup(3,4)", Kind.UNION, ("[1,2]", "(3,4)"), ""),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", Kind.MATRIX, ("1", "2", "3", "4"), "2x2"),
        (r"[\begin{array}{cc}1&2\\\end{array}]", Kind.MATRIX, ("1", "2"), "2"),
        (r"\begin{matrix}\begin{matrix}1\end{matrix}\end{matrix}", Kind.ATOM, (), ""),
        (r"\{1,2\}", Kind.SET, ("1", "2"), ""),
        (r"\{5\}", Kind.SET, ("5",), ""),
        (r"\{x|x>0\}", Kind.ATOM, (), ""),
        (r"\{1,2,\ldots\}", Kind.ATOM, (), ""),
        (r"\{1,2)", Kind.ATOM, (), ""),
        ("(1,2)", Kind.TUPLE, ("1", "2"), "()"),
        ("(1,234)", Kind.TUPLE, ("1", "234"), "()"),
        ("[0,1)", Kind.TUPLE, ("0", "1"), "[)"),
        (r"\langle 1,2\rangle", Kind.TUPLE, ("1", "2"), "()"),
        ("(x+1)", Kind.ATOM, (), ""),
        ("{1,2}", Kind.ATOM, (), ""),
        (r"\frac{1}{2}", Kind.ATOM, (), ""),
    ],
)
def test_an_answer_is_taken_apart_where_it_binds_least(
    text: str, kind: Kind, parts: tuple[str, ...], frame: str
) -> None:
    found = shape(text)
    assert (found.kind, found.text, found.parts, found.frame) == (kind, text, parts, frame)


def test_a_token_says_how_many_brackets_are_open_around_it() -> None:
    read = [(token.text, token.start, token.before, token.after) for token in tokens(r"(a\})<=")]
    assert read == [("(", 0, 0, 1), ("a", 1, 1, 1), (r"\}", 2, 1, 0), (")", 4, 0, -1), ("<=", 5, -1, -1)]


@pytest.mark.parametrize(
    ("text", "pair", "inside"),
    [("[0,1)", "[)", "0,1"), ("((1)(2))", "()", "(1)(2)"), ("()", "()", ""), (r"\{1\}", r"\{\}", "1")],
)
def test_a_pair_of_brackets_holds_the_whole_text(text: str, pair: str, inside: str) -> None:
    found = bracketed(text)
    assert found is not None
    assert (found.pair, found.inside) == (pair, inside)


@pytest.mark.parametrize(
    "text", ["", "a", "a(1)", "(1)a", "(1)+(2)", "(1", "1)", "(1))", r"\begin{matrix}1\end{matrix}"]
)
def test_no_pair_of_brackets_holds_the_whole_text(text: str) -> None:
    assert bracketed(text) is None


def test_separators_inside_brackets_and_in_uncut_stretches_separate_nothing() -> None:
    assert list(split("a,(b,c),d", (",",))) == ["a", "(b,c)", "d"]
    assert list(split("1,234,5", (",",), uncut=[(0, 5)])) == ["1,234", "5"]
    assert list(split("a<=b=c", ("=",))) == ["a<=b", "c"]
    assert list(split("", (",",))) == [""]
