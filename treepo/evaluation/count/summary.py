"""A run in numbers: what ``results.json`` holds and the reports show."""

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from treepo.evaluation.count import metrics
from treepo.evaluation.count.metrics import Classes, Estimate, Floats
from treepo.evaluation.keep.records import Call, Sample
from treepo.evaluation.keep.store import StoredRun

SEED = 0
"""Of every bootstrap; a report of the same samples is always the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of responses: mean, percentiles and the longest."""

    mean: float
    p50: float
    p90: float
    p99: float
    longest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What generation took.

    Attributes:
        trajectories: Samples that came out of the calls.
        tokens_generated: Tokens decoded.
        tokens_in_trajectories: Tokens of the trajectories; shared ones count once per trajectory.
        seconds: Wall time, the union of the calls.
        accelerator_seconds: Sum over the calls.
        trajectories_per_second: Trajectories over wall time; None without any time.
        tokens_per_second: Tokens decoded over wall time; None without any time.
    """

    trajectories: int
    tokens_generated: int
    tokens_in_trajectories: int
    seconds: float
    accelerator_seconds: float
    trajectories_per_second: float | None
    tokens_per_second: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One benchmark under one sampling.

    Attributes:
        benchmark: Its name.
        sampling: The label.
        weight: Weight in the overall score.
        questions: Questions with at least one sample.
        questions_planned: Questions of the plan.
        samples: Samples there are.
        samples_planned: Samples of the plan.
        least: Samples that each of the questions has at least.
        accuracy: avg@k, k being all samples of a question.
        pass_at: pass@k by k.
        majority_at: maj@k by k.
        tokens: Tokens of all responses.
        lengths: Tokens of a response.
        truncated: Share of responses that a limit ended.
        repetition: Share of responses that repeat themselves.
        unanswered: Share of responses without an answer.
        verdicts: How many verdicts each path of the scorer gave.
        finishes: How many responses ended for which reason.
        cost: What generating them took; None where no calls were recorded.
    """

    benchmark: str
    sampling: str
    weight: float
    questions: int
    questions_planned: int
    samples: int
    samples_planned: int
    least: int
    accuracy: Estimate
    pass_at: dict[int, Estimate]
    majority_at: dict[int, Estimate]
    tokens: int
    lengths: Lengths
    truncated: float
    repetition: float
    unanswered: float
    verdicts: dict[str, int]
    finishes: dict[str, int]
    cost: Cost | None

    @property
    def complete(self) -> bool:
        """Whether all planned samples are there."""
        return self.samples == self.samples_planned


@dataclass(frozen=True, slots=True, kw_only=True)
class Overall:
    """All benchmarks under one sampling.

    Attributes:
        sampling: The label.
        weighted: avg@k weighted by the benchmarks' weights.
        unweighted: avg@k with all benchmarks alike.
        complete: Whether all planned samples of all planned benchmarks are there.
        cost: Of all benchmarks; None where one of them has none.
    """

    sampling: str
    weighted: Estimate
    unweighted: Estimate
    complete: bool
    cost: Cost | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question's samples under one sampling, in short.

    Attributes:
        correct: How many are right.
        votes: Their classes, see `treepo.evaluation.count.metrics.vote_classes`, shape [samples].
    """

    correct: int
    votes: Classes

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.votes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run in numbers.

    Attributes:
        scores: By benchmark and sampling, in the order of the plan; only where there are samples.
        overall: By sampling, in the order of the plan.
    """

    scores: tuple[Scores, ...]
    overall: tuple[Overall, ...]


def questions_of(samples: Iterable[Sample]) -> dict[str, Question]:
    """The questions of one benchmark under one sampling, by id in sorted order."""
    grouped: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        grouped[sample.question].append(sample)
    return {
        question: Question(correct=sum(sample.correct for sample in group), votes=metrics.vote_classes(group))
        for question, group in sorted(grouped.items())
    }


def summarise(run: StoredRun) -> Summary:
    """Reads a run and sums it up.

    Raises:
        ValueError: It holds no sample.
    """
    calls: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in run.calls():
        calls[call.benchmark, call.sampling].append(call)
    scores: list[Scores] = []
    averages: dict[str, dict[str, Floats]] = defaultdict(dict)
    for benchmark in run.plan.benchmarks:
        groups: dict[str, list[Sample]] = defaultdict(list)
        for sample in run.samples(benchmark):
            groups[sample.sampling].append(replace(sample, prompt="", response=""))  # texts are most of the memory
        for sampling in run.plan.samplings:
            if group := groups.get(sampling):
                found, average = _scores(run, benchmark, sampling, group, calls[benchmark, sampling])
                scores.append(found)
                averages[sampling][benchmark] = average
    if not scores:
        raise ValueError(f"{run.folder} holds no sample yet")
    overall = [
        _overall(run, averages[sampling], [score for score in scores if score.sampling == sampling], calls)
        for sampling in run.plan.samplings
        if sampling in averages
    ]
    return Summary(scores=tuple(scores), overall=tuple(overall))


def _scores(
    run: StoredRun, benchmark: str, sampling: str, samples: Sequence[Sample], calls: Sequence[Call]
) -> tuple[Scores, Floats]:
    plan = run.plan.benchmarks[benchmark]
    questions = list(questions_of(samples).values())
    correct = [question.correct for question in questions]
    drawn = [question.samples for question in questions]
    votes = [question.votes for question in questions]
    times = resamples_of(benchmark, len(questions))
    average = metrics.average(correct, drawn)
    least = min(drawn)
    sizes = metrics.sample_sizes(least)
    tokens = np.array([sample.tokens for sample in samples])
    draw = np.random.default_rng([SEED, zlib.crc32(f"{benchmark} {sampling}".encode())])

    def share(hits: Iterable[bool]) -> float:
        return sum(hits) / len(samples)

    return Scores(
        benchmark=benchmark,
        sampling=sampling,
        weight=plan.weight,
        questions=len(questions),
        questions_planned=plan.questions,
        samples=len(samples),
        samples_planned=plan.questions * run.plan.samples,
        least=least,
        accuracy=metrics.estimate(average, times),
        pass_at={k: metrics.estimate(metrics.pass_at_k(correct, drawn, k), times) for k in sizes},
        majority_at={k: metrics.estimate(metrics.majority_at_k(votes, k, draw), times) for k in sizes},
        tokens=int(tokens.sum()),
        lengths=_lengths(tokens),
        truncated=share(sample.truncated for sample in samples),
        repetition=share(sample.repetition for sample in samples),
        unanswered=share(sample.answer is None for sample in samples),
        verdicts=dict(Counter(sample.verdict for sample in samples).most_common()),
        finishes=dict(Counter(sample.finish.value for sample in samples).most_common()),
        cost=_cost(calls, int(tokens.sum())) if calls else None,
    ), average


@lru_cache(maxsize=32)
def resamples_of(benchmark: str, questions: int) -> metrics.Times:
    """The resamples of a benchmark's questions, the same for every sampling and run."""
    return metrics.resample(questions, np.random.default_rng([SEED, zlib.crc32(benchmark.encode())]))


def _lengths(tokens: np.ndarray) -> Lengths:
    p50, p90, p99 = (float(value) for value in np.percentile(tokens, [50, 90, 99]))
    return Lengths(mean=float(tokens.mean()), p50=p50, p90=p90, p99=p99, longest=int(tokens.max()))


def union_seconds(calls: Iterable[Call]) -> float:
    """Wall time during which at least one of the calls ran."""
    total, end = 0.0, float("-inf")
    for call in sorted(calls, key=lambda call: call.started):
        stop = call.started + call.seconds
        total += max(0.0, stop - max(call.started, end))
        end = max(end, stop)
    return total


def _cost(calls: Sequence[Call], tokens_in_trajectories: int) -> Cost:
    trajectories = sum(call.trajectories for call in calls)
    tokens = sum(call.tokens_generated for call in calls)
    seconds = union_seconds(calls)
    return Cost(
        trajectories=trajectories,
        tokens_generated=tokens,
        tokens_in_trajectories=tokens_in_trajectories,
        seconds=seconds,
        accelerator_seconds=sum(call.accelerator_seconds for call in calls),
        trajectories_per_second=trajectories / seconds if seconds else None,
        tokens_per_second=tokens / seconds if seconds else None,
    )


def _overall(
    run: StoredRun,
    averages: Mapping[str, Floats],
    scores: Sequence[Scores],
    calls: Mapping[tuple[str, str], Sequence[Call]],
) -> Overall:
    times = {name: resamples_of(name, len(part)) for name, part in averages.items()}
    weights = {score.benchmark: score.weight for score in scores}
    alike = dict.fromkeys(weights, 1.0)
    made = [calls.get((score.benchmark, score.sampling), ()) for score in scores]
    tokens = sum(score.tokens for score in scores)
    return Overall(
        sampling=scores[0].sampling,
        weighted=metrics.weighted_estimate(averages, weights, times)[0],
        unweighted=metrics.weighted_estimate(averages, alike, times)[0],
        complete=len(scores) == len(run.plan.benchmarks) and all(score.complete for score in scores),
        cost=_cost([call for part in made for call in part], tokens) if all(made) else None,
    )
