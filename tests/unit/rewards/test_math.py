"""The math reward on answers right and wrong, on hostile ones, and from several threads."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from treepo.rewards import math as math_reward
from treepo.rewards.answers import quick_verdict
from treepo.rewards.math import LONGEST_ANSWER, LONGEST_PREDICTION, compute_score


def _score(answer: str, gold: str | Sequence[str], **more: Any) -> math_reward.MathScore:
    return compute_score("test", rf"Some steps, \boxed{{0}} at first, so \boxed{{{answer}}}. Done.", gold, **more)


@pytest.mark.parametrize(("answer", "gold"), [("42", "42"), (" 0.5 ", r"\frac{1}{2}"), ("b+a", "a+b")])
def test_right_answers_score_one(answer: str, gold: str) -> None:
    assert _score(answer, gold) == {"score": 1.0, "acc": 1.0, "pred": answer.strip()}


@pytest.mark.parametrize(("answer", "gold"), [("43", "42"), ("b-a", "a+b"), (" ", "5")])
def test_wrong_answers_score_minus_one(answer: str, gold: str) -> None:
    assert _score(answer, gold) == {"score": -1.0, "acc": 0.0, "pred": answer.strip()}


def test_plain_numbers_never_wait_for_math_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(math_reward, "_judge", None)
    scores = [_score(str(answer), "17")["acc"] for answer in range(-50, 50)]
    assert sum(scores) == 1.0


@pytest.mark.parametrize("gold", [["4", "5"], ("5",), np.array(["x", "5"], dtype=object), '["4", "5"]', ' ["5"]'])
def test_any_of_several_ground_truths_will_do(gold: Any) -> None:
    assert _score("5", gold)["acc"] == 1.0
    assert _score("7", gold)["acc"] == 0.0


def test_a_ground_truth_may_come_in_a_box_or_a_sentence_around_it() -> None:
    assert _score("5", r"It follows that $x = \boxed{5}$.")["acc"] == 1.0


@pytest.mark.parametrize(
    "response", ["", "no box", r"\boxed{5", r"\boxed 5", r"\boxed{}{5}", r"\boxed{5\}", r"\boxed{\sqrt{5}"]
)
def test_without_a_complete_box_there_is_no_answer(response: str) -> None:
    assert compute_score("test", response, "5") == {"score": -1.0, "acc": 0.0, "pred": ""}


def test_the_last_box_counts() -> None:
    assert compute_score("test", r"\boxed{5} no, \boxed{6}", "5")["acc"] == 0.0
    assert compute_score("test", r"\boxed{6} no, \boxed{5}", "5")["acc"] == 1.0


@pytest.mark.parametrize("gold", [None, "", "  ", [], ["5", ""], ["5", None], True, float("nan"), '["5", ""]'])
def test_a_missing_ground_truth_is_an_error_that_names_the_data(gold: Any) -> None:
    with pytest.raises(ValueError, match=r"data source 'some/set': reward_model\.ground_truth"):
        compute_score("some/set", r"\boxed{5}", gold)


@pytest.mark.parametrize("gold", [5, 5.0, [4, 5]])
def test_a_number_is_a_ground_truth(gold: Any) -> None:
    assert compute_score("some/set", r"\boxed{5}", gold)["acc"] == 1.0
    assert compute_score("some/set", r"\boxed{6}", gold)["acc"] == 0.0


def test_verl_may_pass_more_than_is_needed() -> None:
    assert _score("5", "5", extra_info={"index": 3}, reward_router_address=None)["acc"] == 1.0


def test_the_last_turn_alone_is_scored_where_there_is_one() -> None:
    turns = r"Let me look. <tool>\boxed{5}</tool> So it is \boxed{6}."
    assert compute_score("test", turns, "5", {"final_turn": r"So it is \boxed{6}."})["acc"] == 0.0
    assert compute_score("test", turns, "6", {"final_turn": r"So it is \boxed{6}."})["acc"] == 1.0
    assert compute_score("test", turns, "6", {"final_turn": None, "index": 3})["acc"] == 1.0


@pytest.mark.parametrize("final_turn", ["", "I give up."])
def test_a_box_that_a_tool_printed_is_no_answer(final_turn: str) -> None:
    score = compute_score("test", r"<tool>\boxed{5}</tool>" + final_turn, "5", {"final_turn": final_turn})
    assert score == {"score": -1.0, "acc": 0.0, "pred": ""}


def test_a_last_turn_that_is_no_text_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match=r"data source 'test': extra_info\['final_turn'\] must be a text, got 5"):
        compute_score("test", r"\boxed{5}", "5", {"final_turn": 5})


@pytest.mark.parametrize(
    "response",
    [
        r"\boxed{" * 200_000,
        r"\boxed{" + "{" * 1_000_000 + "}" * 1_000_000 + "}",
        r"\boxed{" + "9" * 3_000_000 + "}",
        r"\boxed{" + "\\" * 1_000_000 + "}",
        r"\boxed{" + " " * 3_000_000 + "5}",
        "}" * 3_000_000,
    ],
    ids=["open_boxes", "braces", "digits", "backslashes", "spaces", "closing"],
)
def test_megabytes_are_judged_at_once_and_the_prediction_stays_short(response: str) -> None:
    score = compute_score("test", response, "5")
    assert score["acc"] == 0.0
    assert len(score["pred"]) <= LONGEST_PREDICTION


@pytest.mark.parametrize(
    "unit", [" ", "\\,", "(", ")", "{}", "1,", r"\frac", "x^", "-", r"\text{", "1/", r"\left", "9", ". "]
)
def test_the_longest_answer_that_is_looked_at_is_judged_in_time(unit: str) -> None:
    answer = (unit * LONGEST_ANSWER)[: LONGEST_ANSWER - 1]
    start = time.thread_time()
    quick_verdict("5", answer)
    assert time.thread_time() - start < 0.5
    assert compute_score("test", rf"\boxed{{{answer}}}", "5")["acc"] == 0.0


def test_threads_get_their_own_verdicts() -> None:
    def judge(number: int) -> float:
        answer = ("{0}+x", "x+{0}", "x-{0}", "{0}")[number % 4].format(number)
        return _score(answer, f"x+{number}")["acc"]

    with ThreadPoolExecutor(16) as threads:
        verdicts = list(threads.map(judge, range(1, 201)))
    assert verdicts == [1.0 if number % 4 in (0, 1) else 0.0 for number in range(1, 201)]
