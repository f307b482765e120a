"""What is taken off a value, and when two units do not fit."""

from fractions import Fraction

import pytest

from treepo.rewards.spelling import respell
from treepo.rewards.units import quantity


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (r"12\text{ cm}", "12"),
        (r"12\,\mathrm{km}/\mathrm{h}", "12"),
        (r"2\pi\text{ square feet}", r"2\pi"),
        (r"x^{2}\text{ m}", "x^{2}"),
        ("15 students", "15"),
        (r"\$5", "5"),
        (r"-\$5", "-5"),
        (r"90^\circ", "90"),
        (r"4\text{ pancakes}", "4"),
        ("3t", "3t"),
        ("5m", "5m"),
        ("2 x", "2 x"),
        (r"5\mathrm{x}", r"5\mathrm{x}"),
        (r"5\mathbf{m}", r"5\mathbf{m}"),
        (r"5\mathrm{m}", "5"),
        (r"5\mathrm{M}", r"5\mathrm{M}"),
        ("5α", "5α"),
        ("858颗糖果", "858"),
        ("10€", "10"),
        ("10 years old", "10"),
        (r"180 \text { (days). }", "180"),
        (r"\cos 58^\circ", r"\cos 58^\circ"),
        (r"v_{\text{max}}", "v_{max}"),
        (r"2^{\text{m}}", r"2^{\text{m}}"),
        (r"\text{cm}", r"\text{cm}"),
        (r"x+\text{cm}", r"x+\text{cm}"),
    ],
)
def test_units_come_off_and_variables_stay(written: str, value: str) -> None:
    assert quantity(respell(written)).value == value


@pytest.mark.parametrize(
    ("one", "other", "fit"),
    [
        (r"1\text{ m}", r"1\text{ ft}", True),
        (r"1\text{ m}", r"1\text{ m}^2", False),
        (r"1\text{ L}", r"1\text{ cm}^3", True),
        (r"1\text{ m/s}", r"1\text{ km/h}", True),
        (r"1\text{ m/s}", r"1\text{ m/s}^2", False),
        (r"1\text{ m/s}", r"1\text{ m}\cdot\text{s}^{-1}", True),
        (r"1\text{ mph}", r"1\text{ miles per hour}", True),
        (r"1\text{ hour}", r"1\text{ meter}", False),
        (r"1^\circ", r"1\text{ radian}", False),
        (r"1^\circ", r"1^\circ\text{C}", True),
        (r"1^\circ\text{F}", r"1^\circ\text{C}", False),
        (r"\$1", r"1\text{ cent}", True),
        ("€1", r"\$1", False),
        ("1", r"1\text{ m}", True),
        (r"1\text{ apple}", r"1\text{ m}", True),
    ],
)
def test_two_known_units_must_measure_the_same(one: str, other: str, fit: bool) -> None:
    assert quantity(respell(one)).measures_otherwise(quantity(respell(other))) is not fit


@pytest.mark.parametrize(
    ("written", "factor"),
    [
        (r"1\text{ cm}^2", Fraction(1, 10_000)),
        (r"1\text{ cubic cm}", Fraction(1, 1_000_000)),
        (r"1\text{ km/h}", Fraction(1000, 3600)),
        (r"1\text{ feet}", Fraction(3048, 10_000)),
        (r"1\text{ mL}", Fraction(1, 1_000_000)),
    ],
)
def test_factors_of_units(written: str, factor: Fraction) -> None:
    assert quantity(respell(written)).factor == factor


def test_scale_words_multiply_and_remarks_are_kept() -> None:
    assert quantity(r"5\text{ million}").scale == 10**6
    assert quantity(r"5\text{ hundred thousand people}").scale == 10**5
    assert quantity("5万").scale == 10**4
    assert quantity(r"5\text{ or more}").remark == "or more"
    assert quantity("5 squared").remark == "squared"
