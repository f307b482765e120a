"""Two runs question by question: the paired bootstrap of their difference, and which questions changed sides."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from treepo.config import ConfigError
from treepo.evaluation.count import metrics
from treepo.evaluation.count.metrics import Estimate, Floats
from treepo.evaluation.count.questions import Question, questions_of, resamples_of
from treepo.evaluation.keep.records import INDEPENDENT
from treepo.evaluation.keep.store import StoredRun


class Flip(StrEnum):
    """On which side a question's samples are: right means more than half of them."""

    GAINED = "wrong to right"
    LOST = "right to wrong"
    NONE = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One question under both runs.

    Attributes:
        benchmark: Its benchmark.
        question: Its id.
        before: Right samples and samples of the first run.
        after: Those of the second.
    """

    benchmark: str
    question: str
    before: tuple[int, int]
    after: tuple[int, int]

    @property
    def difference(self) -> float:
        """Share of right samples, second run less first."""
        return self.after[0] / self.after[1] - self.before[0] / self.before[1]

    @property
    def flip(self) -> Flip:
        """Whether the question changed sides."""
        was, now = (2 * right > drawn for right, drawn in (self.before, self.after))
        if was == now:
            return Flip.NONE
        return Flip.GAINED if now else Flip.LOST


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The second run less the first on the questions of both.

    Attributes:
        name: Benchmark, or which mean over them.
        questions: Questions of both runs.
        before: avg@k of the first run on them.
        after: avg@k of the second.
        difference: Their difference with its paired bootstrap interval.
        p_value: Two-sided, of no difference: twice the share of resamples on the other side of nought, both counts
            raised by one.
    """

    name: str
    questions: int
    before: float
    after: float
    difference: Estimate
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs.

    Attributes:
        names: Folder, model and sampling of each.
        differences: By benchmark.
        weighted: Over all of them, by the second run's weights.
        unweighted: Over all of them alike.
        changes: Questions whose share of right samples differs, those that changed most first.
        unpaired: Questions that only one of the runs has, by benchmark; they are left out.
    """

    names: tuple[str, str]
    differences: tuple[Difference, ...]
    weighted: Difference
    unweighted: Difference
    changes: tuple[Change, ...]
    unpaired: Mapping[str, int]


def compare_runs(first: StoredRun, second: StoredRun, samplings: tuple[str | None, str | None]) -> Comparison:
    """Compares two runs.

    Args:
        first: The run to compare with.
        second: The run to judge.
        samplings: Which sampling of each; None for the independent one, or the only one.

    Raises:
        ConfigError: A sampling is not in its run or has to be named, or the runs share no question.
    """
    labels = (_sampling(first, samplings[0]), _sampling(second, samplings[1]))
    pairs: dict[str, list[Change]] = {}
    unpaired: dict[str, int] = {}
    for benchmark in second.plan.benchmarks:
        if benchmark not in first.plan.benchmarks:
            continue
        before, after = _questions(first, benchmark, labels[0]), _questions(second, benchmark, labels[1])
        both = sorted(before.keys() & after.keys())
        unpaired[benchmark] = len(before) + len(after) - 2 * len(both)
        if both:
            pairs[benchmark] = [
                Change(
                    benchmark=benchmark,
                    question=question,
                    before=(before[question].correct, before[question].samples),
                    after=(after[question].correct, after[question].samples),
                )
                for question in both
            ]
    if not pairs:
        raise ConfigError(f"{first.folder} and {second.folder} have no question in common")
    weights = {name: second.plan.benchmarks[name].weight for name in pairs}
    changes = [change for part in pairs.values() for change in part if change.difference]
    return Comparison(
        names=(_name(first, labels[0]), _name(second, labels[1])),
        differences=tuple(_difference(name, {name: part}, {name: 1.0}) for name, part in pairs.items()),
        weighted=_difference("overall, weighted", pairs, weights),
        unweighted=_difference("overall, unweighted", pairs, dict.fromkeys(pairs, 1.0)),
        changes=tuple(sorted(changes, key=lambda change: (-abs(change.difference), change.benchmark, change.question))),
        unpaired={name: count for name, count in unpaired.items() if count},
    )


def paired_p_value(means: Floats) -> float:
    """Two-sided p-value of no difference from the bootstrap means of a difference, shape [resamples]."""
    smaller = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    return min(1.0, 2 * (int(smaller) + 1) / (len(means) + 1))


def _difference(name: str, pairs: Mapping[str, Sequence[Change]], weights: Mapping[str, float]) -> Difference:
    first = {benchmark: _averages(change.before for change in part) for benchmark, part in pairs.items()}
    second = {benchmark: _averages(change.after for change in part) for benchmark, part in pairs.items()}
    times = {benchmark: resamples_of(benchmark, len(part)) for benchmark, part in pairs.items()}
    gaps = {benchmark: second[benchmark] - first[benchmark] for benchmark in pairs}
    difference, means = metrics.weighted_estimate(gaps, weights, times)
    return Difference(
        name=name,
        questions=sum(map(len, pairs.values())),
        before=metrics.weighted_estimate(first, weights, times)[0].value,
        after=metrics.weighted_estimate(second, weights, times)[0].value,
        difference=difference,
        p_value=paired_p_value(means),
    )


def _averages(counts: Iterable[tuple[int, int]]) -> Floats:
    pairs = np.array(list(counts))
    return metrics.average(pairs[:, 0], pairs[:, 1])


def _questions(run: StoredRun, benchmark: str, sampling: str) -> dict[str, Question]:
    samples = (sample for sample in run.samples(benchmark) if sample.sampling == sampling)
    return questions_of(samples, per_seed=run.plan.per_seed)


def _sampling(run: StoredRun, wanted: str | None) -> str:
    labels = run.plan.samplings
    if wanted is not None and wanted not in labels:
        raise ConfigError(f"{run.folder} has no sampling {wanted!r}; it has {', '.join(labels)}")
    if wanted is not None or INDEPENDENT in labels:
        return wanted or INDEPENDENT
    if len(labels) != 1:
        raise ConfigError(f"{run.folder} has several samplings; name one of {', '.join(labels)}")
    return labels[0]


def _name(run: StoredRun, sampling: str) -> str:
    return f"{run.folder}: {run.plan.model}, {sampling}"
