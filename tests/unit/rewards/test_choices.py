"""The letter that a response to a multiple choice question settles on."""

import pytest
import yaml
from training_run import ROOT

from treepo.rewards.choices import CHOICE_SOURCES, choice_letter
from treepo.rewards.math import compute_score

READ = {
    r"\boxed{B}": "B",
    r"\boxed{b}": "B",
    r"\boxed{(B)}": "B",
    r"\boxed{\text{B}}": "B",
    r"\boxed{\textbf{(B)}}": "B",
    r"\boxed{B.}": "B",
    r"\boxed{B. Aspirin}": "B",
    r"\boxed{\text{(B) Vitamin B and C}}": None,
    r"\boxed{\text{(B) Aspirin and heparin}}": "B",
    r"\boxed{Option B}": "B",
    r"\boxed{A} no, \boxed{C}": "C",
    r"The answer is (A). \boxed{C}": "C",
    r"\boxed{A, B}": None,
    r"\boxed{A or B}": None,
    r"\boxed{AB}": None,
    r"\boxed{not B}": None,
    r"\boxed{Aspirin}": None,
    r"\boxed{}": None,
    r"The answer is (B). \boxed{Aspirin}": None,
    "The answer is (B).": "B",
    "The answer is B because of the fever.": "B",
    "Answer: B": "B",
    "**Answer: (D) Heparin**": "D",
    "The correct option is **C**.": "C",
    r"The answer is $\text{B}$": "B",
    "The answer is A. Wait, the answer is B.": "B",
    "The answer is option D because A and B are wrong": "D",
    "The answer is B or C": None,
    "The answer is B, C": None,
    "The answer is not B": None,
    "The answer is a beta blocker": None,
    "The answer is A beta blocker": None,
    "The answer is B cells": None,
    "The answer is C. difficile": None,
    "The answer is Aspirin": None,
    "B": None,
    "I think of option": None,
    r"\boxed{B": None,
    "": None,
}


@pytest.mark.parametrize(("response", "letter"), READ.items())
def test_a_box_decides_alone_and_a_sentence_without_one(response: str, letter: str | None) -> None:
    assert choice_letter(response) == letter


@pytest.mark.parametrize("truth", ["B", "b", "(B)", r"\boxed{B}"])
def test_choices_are_scored_by_their_letter(truth: str) -> None:
    assert compute_score("medqa", r"So \boxed{B. Aspirin}", truth) == {"score": 1.0, "acc": 1.0, "pred": "B"}
    assert compute_score("medmcqa", "The answer is (C).", truth) == {"score": -1.0, "acc": 0.0, "pred": "C"}


def test_a_sentence_is_no_answer_elsewhere() -> None:
    assert compute_score("math_500", "The answer is B.", "B")["acc"] == 0.0


def test_a_ground_truth_that_is_no_letter_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"data source 'medqa': reward_model\.ground_truth must be a letter"):
        compute_score("medqa", r"\boxed{B}", "Aspirin")


def test_every_multiple_choice_set_is_scored_by_letter() -> None:
    specs = [yaml.safe_load(path.read_text()) for path in (ROOT / "treepo/datasets/sets").glob("*.yaml")]
    assert {spec["name"] for spec in specs if spec["answer_type"] == "multiple_choice"} == CHOICE_SOURCES


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    ["answer is " * 100_000, "answer: " + "*" * 500_000, "answer is A or B " * 50_000, r"\boxed{" + "A" * 10**6 + "}"],
    ids=["sentences", "stars", "hedges", "box"],
)
def test_long_responses_are_read_in_time(text: str) -> None:
    assert choice_letter(text) is None
