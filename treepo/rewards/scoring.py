"""From a response and its ground truth to a verdict, one at a time or many at once."""

import json
from collections.abc import Iterable, Sequence

import numpy as np

from treepo.rewards.answers import quick_verdict
from treepo.rewards.boxed import last_boxed
from treepo.rewards.choices import CHOICE_SOURCES, LETTERS, choice_letter
from treepo.rewards.judge import Judge, Ruling
from treepo.rewards.verdict import Verdict, VerdictPath

LONGEST_ANSWER = 1024
"""Characters; what is longer is wrong without being looked at."""

Answer = str | int | float
GroundTruth = Answer | Sequence[Answer]
Question = tuple[str, str]


def judge_response(response: str, ground_truth: GroundTruth, *, data_source: str, judge: Judge) -> Verdict:
    """Judges one response; takes bounded time and memory whatever the response says.

    Args:
        response: What the model wrote.
        ground_truth: The right answer, a text with or without a box around it or a number; several, any of which will
            do, as a sequence or as a JSON list of texts.
        data_source: Name of the dataset. It tells multiple choice, and names the data in messages.
        judge: Decides what reading cannot.

    Raises:
        ValueError: The ground truth is missing, empty, or neither text nor number; for multiple choice, no letter.
        RuntimeError: The process that judges difficult answers does not run.
    """
    return judge_many([(response, ground_truth)], data_source=data_source, judge=judge)[0]


def judge_many(pairs: Iterable[tuple[str, GroundTruth]], *, data_source: str, judge: Judge) -> list[Verdict]:
    """Judges many responses (response, ground truth), all of the judge's processes busy.

    The same questions are asked once.

    Returns:
        One verdict per pair, in their order.

    Raises:
        ValueError: As for :func:`judge_response`, before anything is judged.
        RuntimeError: As for :func:`judge_response`.
    """
    read = [_read(response, ground_truth, data_source) for response, ground_truth in pairs]
    questions = list(dict.fromkeys(question for _, asked in read for question in asked))
    rulings = dict(zip(questions, judge.rule_all(questions), strict=True)) if questions else {}
    return [_ruled(verdict, [rulings[question] for question in asked]) for verdict, asked in read]


def ground_truths(ground_truth: object, *, data_source: str) -> list[str]:
    """The right answers, any of which will do.

    Raises:
        ValueError: There is none, or one is empty, or neither text nor number.
    """
    listed = _json_list(ground_truth) if isinstance(ground_truth, str) else ground_truth
    # Parquet hands a list column out as an array.
    golds = list(listed) if isinstance(listed, list | tuple | np.ndarray) else [listed]
    texts = [_as_text(gold) for gold in golds]
    if not all(texts):
        raise ValueError(
            f"data source {data_source!r}: reward_model.ground_truth must be a text or a number, or a list of them, "
            f"none of them empty, got {ground_truth!r:.200}"
        )
    if not texts:
        raise ValueError(f"data source {data_source!r}: reward_model.ground_truth is an empty list")
    return [last_boxed(text) or text for text in texts]


def _as_text(gold: object) -> str:
    """An answer as text; "" for what is none."""
    if isinstance(gold, str):
        return gold if gold.strip() else ""
    if isinstance(gold, bool | np.bool_) or not isinstance(gold, int | float | np.integer | np.floating):
        return ""
    return str(gold) if np.isfinite(gold) else ""


def _json_list(text: str) -> str | list[str]:
    """A JSON list of texts taken apart; anything else, the interval `[1,2]` included, as it is."""
    if not text.lstrip().startswith("["):
        return text
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return parsed if isinstance(parsed, list) and parsed and all(isinstance(item, str) for item in parsed) else text


def _read(response: str, ground_truth: GroundTruth, data_source: str) -> tuple[Verdict, list[Question]]:
    """The verdict as far as reading goes, and questions (ground truth, answer) any of which may still make it right."""
    golds = ground_truths(ground_truth, data_source=data_source)
    if data_source in CHOICE_SOURCES:
        return _choice(response, golds, data_source), []
    answer = last_boxed(response)
    if answer is None:
        return Verdict(correct=False, path=VerdictPath.NO_ANSWER, answer=None), []
    if len(answer) > LONGEST_ANSWER:
        return Verdict(correct=False, path=VerdictPath.TOO_LONG, answer=answer), []
    verdicts = [quick_verdict(gold, answer) if len(gold) <= LONGEST_ANSWER else False for gold in golds]
    questions = [(gold, answer.strip()) for gold, verdict in zip(golds, verdicts, strict=True) if verdict is None]
    if True in verdicts:
        return Verdict(correct=True, path=VerdictPath.EXACT, answer=answer), []
    return Verdict(correct=False, path=VerdictPath.EXACT, answer=answer), questions


def _choice(response: str, golds: Sequence[str], data_source: str) -> Verdict:
    letters = {gold.strip().strip("()").upper() for gold in golds}
    if not letters <= set(LETTERS):
        raise ValueError(f"data source {data_source!r}: reward_model.ground_truth must be a letter, got {golds!r:.200}")
    letter = choice_letter(response)
    path = VerdictPath.NO_ANSWER if letter is None else VerdictPath.EXACT
    return Verdict(correct=letter in letters, path=path, answer=letter)


def _ruled(verdict: Verdict, rulings: Sequence[Ruling]) -> Verdict:
    """The verdict after rulings: right where one is; otherwise the path that says most about why it is not."""
    if not rulings:
        return verdict
    right = [path for correct, path in rulings if correct]
    wrong = [path for _, path in rulings if path is not VerdictPath.MATH_VERIFY]
    path = (right or wrong or [VerdictPath.MATH_VERIFY])[0]
    return Verdict(correct=bool(right), path=path, answer=verdict.answer)
