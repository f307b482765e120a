"""Which questions are the same: among the rows of a set, and between training sets and benchmarks."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from treepo.datasets.rows import Question, Reason

_FRACTION = re.compile(r"\\[dt]frac(?![A-Za-z])")
# What changes how a formula looks but not what it says.
_LOOKS = re.compile(
    r"\\(?:(?:left|right|displaystyle|q?quad|text|textbf|textit|mathrm|mathbf)(?![A-Za-z])|[,;:! ()\[\]])"
)
_IDLE = re.compile(r"[\s$~{}.,;:!?'\"`“”‘’]")


class Overlap(StrEnum):
    """What happens to a training row whose question is in a benchmark."""

    DROP = "drop"
    KEEP = "keep"
    OFF = "off"


def normalise(question: str) -> str:
    """A question's key: equal where questions differ in spacing, punctuation, case or a formula's look alone."""
    text = unicodedata.normalize("NFKC", question).casefold()
    text = _LOOKS.sub("", _FRACTION.sub(r"\\frac", text))
    return _IDLE.sub("", text)


@dataclass(slots=True, kw_only=True)
class Selection:
    """The rows that stay, and how many went for which reason.

    Attributes:
        kept: The rows of the set.
        dropped: Rows left out, by reason.
        repeated: Rows kept although their question came before.
        found: Rows whose question is in a benchmark, by benchmark, dropped or kept.
    """

    kept: list[Question] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    found: Counter[str] = field(default_factory=Counter)


def select(
    questions: Iterable[Question | Reason],
    *,
    drop_duplicates: bool,
    benchmarks: Mapping[str, frozenset[str]],
    overlap: Overlap,
) -> Selection:
    """Leaves out repeated questions and those of benchmarks.

    Args:
        questions: Rows, and the reasons of those that are out already.
        drop_duplicates: Whether the first row of a question alone stays.
        benchmarks: Keys of every benchmark's questions, by its name.
        overlap: What happens to a row whose question is among them.
    """
    selection = Selection()
    answers: dict[str, str] = {}
    for question in questions:
        if isinstance(question, Reason):
            selection.dropped[question] += 1
            continue
        key = normalise(question.text)
        before = answers.get(key)
        if before is not None and drop_duplicates:
            same = before == question.ground_truth
            selection.dropped[Reason.DUPLICATE if same else Reason.CONFLICTING_DUPLICATE] += 1
            continue
        answers.setdefault(key, question.ground_truth)
        selection.repeated += before is not None
        holders = [name for name, keys in benchmarks.items() if key in keys]
        selection.found.update(holders)
        if holders and overlap is Overlap.DROP:
            selection.dropped[Reason.IN_BENCHMARK] += 1
        else:
            selection.kept.append(question)
    return selection
