"""What was decided about an answer, and which way the decision came."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class VerdictPath(StrEnum):
    """Which way a verdict came."""

    EXACT = "exact"
    """By reading alone, in the caller's thread."""
    MATH_VERIFY = "math_verify"
    """By math-verify, in a judging process."""
    TIMEOUT = "timeout"
    """The judging process was killed after its time; wrong."""
    CRASH = "crash"
    """The judging process died or ran out of memory; wrong."""
    ERROR = "error"
    """math-verify failed on the answer; wrong."""
    NO_ANSWER = "no_answer"
    """The response has no answer; wrong."""
    TOO_LONG = "too_long"
    """The answer is longer than is looked at; wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict on one response.

    Attributes:
        correct: Whether its answer is right.
        path: Which way this was decided.
        answer: The answer as the response has it, for multiple choice its letter; None without one.
    """

    correct: bool
    path: VerdictPath
    answer: str | None


def count_paths(verdicts: Iterable[Verdict]) -> dict[VerdictPath, int]:
    """How many verdicts came which way, every way named."""
    counts = Counter(verdict.path for verdict in verdicts)
    return {path: counts[path] for path in VerdictPath}


def fast_share(verdicts: Iterable[Verdict]) -> float:
    """Share of the answers that were decided by reading alone; NaN where there is no answer at all."""
    counts = count_paths(verdicts)
    answers = sum(counts.values()) - counts[VerdictPath.NO_ANSWER]
    return (counts[VerdictPath.EXACT] + counts[VerdictPath.TOO_LONG]) / answers if answers else float("nan")
