"""From responses to verdicts: which way they come, many at once, several ground truths."""

from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks import scoring as benchmark
from treepo.rewards import scoring
from treepo.rewards.judge import Judge
from treepo.rewards.scoring import LONGEST_ANSWER, ground_truths, judge_many, judge_response
from treepo.rewards.verdict import Verdict, VerdictPath, count_paths, fast_share

ENDLESS = "9^{9^{9^9}}"


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    judge = Judge(timeout=1.0)
    yield judge
    judge.close()


class SilentJudge(Judge):
    def rule(self, gold: str, answer: str) -> tuple[bool, VerdictPath]:
        raise AssertionError(f"asked about {answer!r}")


@pytest.mark.parametrize(
    ("response", "truth", "correct", "path"),
    [
        (r"\boxed{5}", "5", True, VerdictPath.EXACT),
        (r"\boxed{6}", "5", False, VerdictPath.EXACT),
        (r"\boxed{b+a}", "a+b", True, VerdictPath.MATH_VERIFY),
        (r"\boxed{b-a}", "a+b", False, VerdictPath.MATH_VERIFY),
        (rf"\boxed{{{ENDLESS}}}", "5", False, VerdictPath.TIMEOUT),
        ("5", "5", False, VerdictPath.NO_ANSWER),
        (rf"\boxed{{{'5' * (LONGEST_ANSWER + 1)}}}", "5" * (LONGEST_ANSWER + 1), False, VerdictPath.TOO_LONG),
        (r"\boxed{b+a}", ["a-b", "a+b"], True, VerdictPath.MATH_VERIFY),
        (r"\boxed{a+b}", ["x+y", "a+b"], True, VerdictPath.EXACT),
        (rf"\boxed{{{ENDLESS}}}", ["x", "a+b"], False, VerdictPath.TIMEOUT),
    ],
)
def test_the_way_of_a_verdict_is_told(
    judge: Judge, response: str, truth: str | list[str], correct: bool, path: VerdictPath
) -> None:
    verdict = judge_response(response, truth, data_source="test", judge=judge)
    assert (verdict.correct, verdict.path) == (correct, path)
    assert judge_many([(response, truth)], data_source="test", judge=judge) == [verdict]


def test_one_hanging_answer_costs_itself_alone(judge: Judge) -> None:
    pairs = [(rf"\boxed{{{number}+x}}", f"x+{number}") for number in range(20)]
    pairs[7] = (rf"\boxed{{{ENDLESS}+7}}", "x+7")
    pairs[13] = ("nothing", "x+13")
    verdicts = judge_many(pairs, data_source="test", judge=judge)
    assert [number for number, verdict in enumerate(verdicts) if not verdict.correct] == [7, 13]
    assert verdicts[3] == Verdict(correct=True, path=VerdictPath.MATH_VERIFY, answer="3+x")
    counts = count_paths(verdicts)
    assert set(counts) == set(VerdictPath)
    assert (counts[VerdictPath.MATH_VERIFY], counts[VerdictPath.TIMEOUT], counts[VerdictPath.NO_ANSWER]) == (18, 1, 1)


def test_what_reading_decides_is_never_asked() -> None:
    responses = [r"\boxed{5}", r"\boxed{(1, 2)}", r"\boxed{[1,3]}", "no box"]
    pairs = list(zip(responses, ["5", "(1,2)", "[1,2]", "5"], strict=True))
    verdicts = judge_many(pairs, data_source="test", judge=SilentJudge())
    assert [verdict.correct for verdict in verdicts] == [True, True, False, False]
    assert fast_share(verdicts) == 1.0


def test_the_same_question_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Judge()
    asked: list[tuple[str, str]] = []

    def ask(gold: str, answer: str) -> tuple[bool, VerdictPath]:
        asked.append((gold, answer))
        return True, VerdictPath.MATH_VERIFY

    monkeypatch.setattr(judge, "rule", ask)
    verdicts = judge_many([(r"\boxed{b+a}", "a+b")] * 50, data_source="test", judge=judge)
    assert len(verdicts) == 50
    assert asked == [("a+b", "b+a")]


def test_no_pairs_no_verdicts() -> None:
    assert judge_many([], data_source="test", judge=SilentJudge()) == []


def test_a_bad_ground_truth_is_found_before_anything_is_judged() -> None:
    with pytest.raises(ValueError, match="data source 'set'"):
        judge_many([(r"\boxed{b+a}", "a+b"), ("", "")], data_source="set", judge=SilentJudge())


@pytest.mark.parametrize(
    ("written", "truths"),
    [
        ("5", ["5"]),
        ('["5", "6"]', ["5", "6"]),
        (r'["\\frac12", "\\boxed{3}"]', [r"\frac12", "3"]),
        ("[1,2]", ["[1,2]"]),
        ("[]", ["[]"]),
        ('["5"', ['["5"']),
        ("[" * 5000, ["[" * 5000]),
        ('["5", 6]', ['["5", 6]']),
    ],
)
def test_a_json_list_of_texts_is_several_ground_truths_and_an_interval_is_not(written: str, truths: list[str]) -> None:
    assert ground_truths(written, data_source="test") == truths


@pytest.mark.parametrize(
    ("number", "truths"),
    [(12, ["12"]), (-3, ["-3"]), (0, ["0"]), (0.5, ["0.5"]), (np.int64(12), ["12"]), ([1, "2"], ["1", "2"])],
    ids=repr,
)
def test_a_number_is_a_ground_truth_as_its_digits(number: object, truths: list[str]) -> None:
    assert ground_truths(number, data_source="test") == truths


@pytest.mark.parametrize("nothing", [True, None, float("nan"), float("inf"), [1, None], {"value": 1}], ids=repr)
def test_what_is_neither_text_nor_number_is_no_ground_truth(nothing: object) -> None:
    with pytest.raises(ValueError, match="must be a text or a number, or a list of them"):
        ground_truths(nothing, data_source="test")


def test_a_ground_truth_too_long_to_be_answered_is_no_burden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "quick_verdict", lambda gold, answer: pytest.fail("read"))
    verdict = judge_response(r"\boxed{5}", "1a" * 10**6, data_source="test", judge=SilentJudge())
    assert not verdict.correct


@pytest.mark.parametrize("load", benchmark.loads(2, 0))
def test_the_benchmark_judges_every_load_to_its_end(load: str) -> None:
    pairs = benchmark.loads(2, 0)[load][:8]
    speed = benchmark.measure(load, pairs, workers=1)
    assert (speed.answers, speed.unfinished) == (8, 0)
    assert speed.seconds > 0
    if load == "whole numbers":
        assert speed.fast == 1.0
    if load == "expressions, each different":
        assert speed.fast == 0.0
