"""What the fast path decides, and what it leaves to math-verify."""

from fractions import Fraction

import pytest

from treepo.rewards.answers import plain_number, quick_verdict, respell


@pytest.mark.parametrize(
    ("written", "spelling"),
    [
        (" $ 5 $ ", "5"),
        (r"\(x\)", "x"),
        ("$5$ or $6$", "5 or 6"),
        ("5$", "5$"),
        ("1,000, 2,000", "1000,2000"),
        ("(1,234)", "(1,234)"),
        ("0,111", "0.111"),
        ("√144", r"\sqrt{144}"),
        ("2√(x+1)", r"2\sqrt{x+1}"),
        ("∛8", r"\sqrt[3]{8}"),
        ("10⁻³ⁿ", "10^{-3n}"),
        ("x₁", "x_{1}"),
        ("⅛", r"\frac{1}{8}"),
        ("x**(n+1)", "x^{n+1}"),
        ("2^100", "2^{100}"),
        (r"{16 \choose 2}", r"\binom{16}{2}"),
        (r"\operatorname{arctan}(2)", r"\arctan(2)"),
        (r"E_{\mathrm{k}}", "E_{k}"),
        (r"x_{\max }", "x_{max}"),
        (r"\left{1\right}", r"\{1\}"),
        (r"180 \text { (days). }", r"180\text{(days).}"),
        (r"\dfrac{1}{2}", r"\frac{1}{2}"),
        (r"\left( 1, 2 \right)", "(1,2)"),
        (r"\leftarrow", r"\leftarrow"),
        (r"1{,}234\,567", "1234567"),
        (r"1,\!234", "1234"),
        ("1, 234", "1;234"),
        ("1, 2", "1,2"),
        ("½π", r"\frac{1}{2}\pi"),
        ("90°", r"90^\circ"),
        (r"90^{ \circ }", r"90^\circ"),
        ("x ≤ 5，", r"x\le 5"),
        ("2pi", r"2\pi"),
        (r"\lbrace 1 \rbrace", r"\{1\}"),
        (r"\{ \}", r"\emptyset"),
        ("5.", "5"),
        ("and so on...", "and so on..."),
        ("−3", "-3"),
        (r"2 \pi r", r"2\pi r"),
        ("no   solution", "no solution"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        (r"50 \%", r"50\%"),
        ("50 percent", r"50\%"),
        (r"50\text{ percent}", r"50\%"),
    ],
)
def test_spelling_is_made_common_without_changing_the_meaning(written: str, spelling: str) -> None:
    assert respell(written) == spelling


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("007", Fraction(7)),
        ("+5", Fraction(5)),
        ("-5", Fraction(-5)),
        ("1234567.5", Fraction(2469135, 2)),
        (".5", Fraction(1, 2)),
        ("3/4", Fraction(3, 4)),
        ("1 1/2", Fraction(3, 2)),
        ("-1 1/2", Fraction(-3, 2)),
        (r"1\frac{1}{2}", Fraction(3, 2)),
        (r"\frac{-3}{4}", Fraction(-3, 4)),
        (r"-\frac{3}{4}", Fraction(-3, 4)),
        ("1e3", Fraction(1000)),
        (r"2.5\times10^{-3}", Fraction(1, 400)),
        ("10^{2}", Fraction(100)),
        ("-10^{2}", Fraction(-100)),
        ("(3)/(4)", Fraction(3, 4)),
    ],
)
def test_plain_numbers_are_read_exactly(written: str, value: Fraction) -> None:
    number = plain_number(written)
    assert number is not None
    assert number.value == value


@pytest.mark.parametrize(
    "written",
    [
        "",
        ".",
        "x",
        "5x",
        "1,23",
        "12,3456",
        "5-3",
        r"5-\frac12",
        "1/0",
        r"\frac{1}{0}",
        "1/2/3",
        "5!",
        "1e999",
        "9e",
        "3:00",
        "٣",
        "9" * 101,
    ],
)
def test_what_is_no_plain_number_is_not_read_as_one(written: str) -> None:
    assert plain_number(written) is None


@pytest.mark.parametrize(
    ("gold", "answer", "verdict"),
    [
        ("5", "5.0", True),
        ("5", "6", False),
        ("0.333333", "1/3", True),
        ("0.33", "1/3", False),
        ("5%", "5", True),
        ("5%", "0.05", True),
        ("0.5", r"50\%", True),
        ("5%", "0.5", False),
        ("5%", "50%", False),
        ("1/3", "33%", False),
        (r"\text{Evelyn}", "Evelyn", True),
        (r"\varnothing", r"\emptyset", True),
        ("5", "", False),
        ("5", "$$", False),
        ("ab", "ba", None),
        ("5", "five", False),
        ("0.0000001", "0", False),
        ("0.001", "1/999", False),
        ("1/3000", "0.000333", True),
        ("1/3000", "0.00033", False),
        ("x", "y", False),
        ("(1,2)", "(1,2,3)", False),
        ("(1,x+y)", "(2,y+x)", False),
        ("(1,x+y)", "(1,y+x)", None),
        ("x+y,1", "1,y+x", None),
        ("x+y,1", "2,3", False),
        ("5", "5\x00", False),
        ("5", "5\ud800", False),
        ("5", "{5", False),
        ("11/2", "1 1/2", False),
    ],
)
def test_the_fast_path_is_sure_or_silent(gold: str, answer: str, verdict: bool | None) -> None:
    assert quick_verdict(gold, answer) is verdict
