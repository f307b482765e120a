"""Hostile answers: always a verdict in bounded time, never an exception, never right by accident."""

import time
from collections.abc import Iterator

import pytest
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from treepo.rewards.answers import quick_verdict
from treepo.rewards.judge import Judge
from treepo.rewards.scoring import LONGEST_ANSWER, judge_many, judge_response
from treepo.rewards.verdict import VerdictPath

TRUTH = r"\frac{7919}{104729}"  # neither number can be made of the pieces below
TRUTHS = [TRUTH, "(7919, 104729)", r"\{7919, 2\}", r"7919\text{ cm}", r"\begin{pmatrix}7919\\1\end{pmatrix}", "x=7919"]
TIMEOUT = 1.0
READING = 1.0  # processor seconds for reading; milliseconds in truth

SLOW_IS_FINE = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture)

PIECES = st.sampled_from(
    [
        "{", "}", "(", ")", "[", "]", "\\{", "\\}", "\\", "\\\\", "$", "^", "_", "&", "%", "#", "~", "=", ",", ";", "|",
        "-", "+", "*", "/", ".", ":", "<", ">", "!", "'", " ", "\n", "\t", "\x00", "\x07", "\x1b", "\x7f", "\ud800",
        "\udfff", "\u202e", "\u200b", "٣", "é", "漢", "½", "1", "2", "33", "x", "e", "i", "pi", "\\pi", "\\infty",
        "\\frac", "\\frac{1}{2}", "\\sqrt", "\\text{", "\\text{ cm}", "\\text{ or }", "\\begin{pmatrix}", "\\cup",
        "\\end{pmatrix}", "\\pm", "\\boxed{", "\\fbox{", "\\left(", "\\right]", "\\sum", "\\int", "\\lim", "\\times",
        "10^", "1,000", " and ", "^\\circ", "\\%", "\\$", "cm", "million", "\\in", "\\approx", "\\binom", "\\log",
    ]
)  # fmt: skip
ANSWERS = st.lists(PIECES, max_size=40).map("".join)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    judge = Judge(timeout=TIMEOUT, memory=256 << 20)
    assert judge.equal("x+1", "1+x")
    yield judge
    judge.close()


@settings(max_examples=examples(300), deadline=None, suppress_health_check=SLOW_IS_FINE)
@given(answer=ANSWERS, truth=st.sampled_from(TRUTHS))
def test_reading_never_fails_and_is_never_right_by_accident(answer: str, truth: str) -> None:
    start = time.thread_time()
    assert quick_verdict(truth, answer) is not True
    assert time.thread_time() - start < READING


@settings(max_examples=examples(60), deadline=None, suppress_health_check=SLOW_IS_FINE)
@given(text=st.text(max_size=60), truth=st.sampled_from(TRUTHS))
def test_any_text_can_be_read_on_either_side(text: str, truth: str) -> None:
    assert quick_verdict(truth, text) is not True
    quick_verdict(text, truth)


@settings(max_examples=examples(20), deadline=None, suppress_health_check=SLOW_IS_FINE)
@given(answers=st.lists(ANSWERS, min_size=1, max_size=8), truth=st.sampled_from(TRUTHS))
def test_whole_responses_always_get_a_verdict_and_never_the_right_one(
    judge: Judge, answers: list[str], truth: str
) -> None:
    responses = [rf"I think \boxed{{{answer}}}" for answer in answers]
    verdicts = judge_many([(response, truth) for response in responses], data_source="fuzz", judge=judge)
    assert not any(verdict.correct for verdict in verdicts)
    assert VerdictPath.ERROR not in {verdict.path for verdict in verdicts}


TOWERS = {
    "powers": "9^{9^{9^{9}}}",
    "plain_powers": "9^9^9^9^9",
    "factorials": "((((9!)!)!)!)!",
    "binomial": r"\binom{10^{12}}{10^{11}}",
    "sum": r"\sum_{k=1}^{10^{12}} \frac{1}{k^k}",
    "product": r"\prod_{k=1}^{10^{9}} (x+k)",
    "integral": r"\int_0^{1} \sin(x^{x^{x}}) e^{x^x} dx",
    "expansion": r"(x+y+z+a+b+c+1)^{10^{6}}",
    "modulus": r"9^{9^{9^{9}}} \mod 7",
    "tiny": r"(10^{-9})^{9^{9^{9}}}",
    "nested_roots": r"\sqrt{1+" * 60 + "1" + "}" * 60,
    "nested_fractions": r"\frac{1}{1+" * 80 + "x" + "}" * 80,
    "nested_brackets": "(" * 500 + "x" + ")" * 500,
    "wide_list": ",".join(f"x+{number}" for number in range(150)),
    "wide_matrix": r"\begin{pmatrix}" + "&".join(["x^x"] * 100) + r"\end{pmatrix}",
}


@pytest.mark.parametrize("truth", ["7919", pytest.param(TRUTH, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", TOWERS)
def test_towers_cost_their_own_time_at_most(judge: Judge, name: str, truth: str) -> None:
    answer = TOWERS[name]
    assert len(answer) <= LONGEST_ANSWER
    assert judge.equal("x+1", "1+x"), "the process is up"
    verdict = judge_response(rf"\boxed{{{answer}}}", truth, data_source="fuzz", judge=judge)
    assert not verdict.correct
    assert verdict.path is not VerdictPath.ERROR
    assert judge_response(r"\boxed{7919+0x}", "7919", data_source="fuzz", judge=judge).correct


@pytest.mark.parametrize(
    "unit", ["{", "}", "(", "[", "\\{", "$", ",", "1,", "\\pm ", "1a", "=", "x=", "\\text{a}", "1 "]
)
@pytest.mark.parametrize("truth", [TRUTH, "1,2,3", "x=5", r"5\text{ cm}"])
def test_the_longest_answer_of_one_piece_is_read_in_time(unit: str, truth: str) -> None:
    answer = (unit * LONGEST_ANSWER)[:LONGEST_ANSWER]
    start = time.thread_time()
    assert quick_verdict(truth, answer) is not True
    assert time.thread_time() - start < READING


@pytest.mark.parametrize(
    "text", ["\\boxed{7919", "7919}", "\\boxed{{7919}", "\\boxed{\x007919}", "\\boxed{\ud8007919}"]
)
def test_half_a_box_and_unreadable_characters_are_no_answer(judge: Judge, text: str) -> None:
    assert not judge_response(text, "7919", data_source="fuzz", judge=judge).correct


@pytest.mark.parametrize("piece", ["\\boxed{", "\\boxed{}", "{", "\\", "9", "\x00", "\ud800", "answer is A "])
def test_megabytes_are_dealt_with_at_once(judge: Judge, piece: str) -> None:
    text = piece * (4_000_000 // len(piece))
    for source, truth in (("fuzz", "7919"), ("medqa", "B")):
        assert not judge_response(text, truth, data_source=source, judge=judge).correct
