"""Your own task, without a box: words to be sorted; its reward, and what finds its answer in a response.

docs/own_task.md goes through it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

MARK = "Answer:"
"""The line that begins with it holds the answer."""


class Score(TypedDict):
    """`score`: share of the words in their place, which trains; `acc`: 1 if all are, else 0; `pred`: the answer."""

    score: float
    acc: float
    pred: str


def last_answer(response: str) -> str:
    """What stands behind the mark of the last line that has one and ends behind it; "" without any."""
    behind = [line.removeprefix(MARK).strip() for line in response.split("\n") if line.startswith(MARK)]
    return next((answer for answer in reversed(behind) if answer), "")


def split_words(answer: str) -> list[str]:
    """The words between the commas."""
    return [word.strip() for word in answer.split(",") if word.strip()]


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any] | None = None, **kwargs: Any
) -> Score:
    """Scores one response; verl calls it with these names, from several threads.

    Args:
        data_source: Name of the data set; not used.
        solution_str: The response, without special tokens.
        ground_truth: The words in order, with commas between.
        extra_info: The row's column of that name, with what verl adds; not used.
        **kwargs: Not used; verl passes more where it has a reward model.

    Returns:
        The same entries for every response: verl makes columns of them.
    """
    answer = last_answer(solution_str)
    share = words_in_place(split_words(answer), split_words(ground_truth))
    return Score(score=share, acc=float(share == 1.0), pred=answer[:256])


def words_in_place(answer: Sequence[str], truth: Sequence[str]) -> float:
    """Share of the places that hold the right word; a place too many counts as a wrong one."""
    right = sum(word == wanted for word, wanted in zip(answer, truth, strict=False))
    return right / max(len(answer), len(truth))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLine:
    """Finds the answer piece by piece while the tree grows, a `treepo.tree.AnswerScan`.

    It is complete with the first character behind the mark. That is right for
    ``treepo.termination.answer=boxed_and_eos``, where the model ends the response itself; with ``boxed``, which ends it
    at once, only a line that is over may count.

    Attributes:
        begun: Whether a line with the mark has begun.
        complete: Whether something stands behind it.
        line: The last line so far, which may continue.
    """

    begun: bool = False
    complete: bool = False
    line: str = ""

    def feed(self, text: str) -> "AnswerLine":
        """The scan after `text` as well; a complete one stays as it is."""
        if self.complete:
            return self
        lines = (self.line + text).split("\n")
        behind = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
        return AnswerLine(
            begun=self.begun or bool(behind), complete=any(rest.strip() for rest in behind), line=lines[-1]
        )
