"""A run in numbers: what ``results.json`` holds and the reports show."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from treepo.evaluation.count import metrics, trees
from treepo.evaluation.count.metrics import CORRECT, Classes, Estimate, Floats, Times
from treepo.evaluation.count.questions import Question, draws, questions_of, resamples_of
from treepo.evaluation.count.scores import Cost, Lengths, Overall, Scores, Summary
from treepo.evaluation.count.seeds import nested_means, seed_means, seed_spread
from treepo.evaluation.keep.records import INDEPENDENT, Call, RunPlan, Sample
from treepo.evaluation.keep.store import StoredRun


@dataclass(frozen=True, slots=True, kw_only=True)
class _Accuracy:
    """avg@k of a benchmark under one sampling.

    Attributes:
        questions: By question, shape [questions].
        nested: Bootstrap means that draw samples too, shape [resamples].
        seeds: By seed.
    """

    questions: Floats
    nested: Floats | None
    seeds: list[float] | None


def summarise(run: StoredRun) -> Summary:
    """Reads a run and sums it up.

    Raises:
        ValueError: It holds no sample.
    """
    calls: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in run.calls():
        calls[call.benchmark, call.sampling].append(call)
    scores: list[Scores] = []
    accuracies: dict[str, dict[str, _Accuracy]] = defaultdict(dict)
    for benchmark in run.plan.benchmarks:
        groups: dict[str, list[Sample]] = defaultdict(list)
        for sample in run.samples(benchmark):
            # Texts are most of the memory, and where nodes end in them is nothing without them.
            groups[sample.sampling].append(replace(sample, prompt="", response="", node_ends=None))
        for sampling in run.plan.samplings:
            if group := groups.get(sampling):
                questions = list(questions_of(group, per_seed=run.plan.per_seed).values())
                accuracy = _accuracy(run.plan, benchmark, sampling, questions)
                accuracies[sampling][benchmark] = accuracy
                scores.append(_scores(run.plan, sampling, group, questions, accuracy, calls[benchmark, sampling]))
    if not scores:
        raise ValueError(f"{run.folder} holds no sample yet")
    overall = [
        _overall(run.plan, accuracies[sampling], [score for score in scores if score.sampling == sampling], calls)
        for sampling in run.plan.samplings
        if sampling in accuracies
    ]
    return Summary(scores=tuple(scores), overall=tuple(overall))


def _accuracy(plan: RunPlan, benchmark: str, sampling: str, questions: Sequence[Question]) -> _Accuracy:
    times = resamples_of(benchmark, len(questions))
    right = np.array([np.bincount(one.seeds, one.right, minlength=plan.seeds) for one in questions])
    drawn = np.array([np.bincount(one.seeds, minlength=plan.seeds) for one in questions])
    if sampling == INDEPENDENT:
        units = [question.right for question in questions]
    else:
        units = [np.array([(votes == CORRECT).mean() for votes in question.by_seed()]) for question in questions]
    return _Accuracy(
        questions=metrics.average(right.sum(axis=1), drawn.sum(axis=1)),
        nested=nested_means(units, times, draws("nested", benchmark, sampling)),
        seeds=seed_means(right, drawn),
    )


def _scores(
    plan: RunPlan,
    sampling: str,
    samples: Sequence[Sample],
    questions: Sequence[Question],
    accuracy: _Accuracy,
    calls: Sequence[Call],
) -> Scores:
    benchmark = samples[0].benchmark
    planned = plan.benchmarks[benchmark]
    times = resamples_of(benchmark, len(questions))
    value = float(accuracy.questions.mean())
    tokens = np.array([sample.tokens for sample in samples])

    def share(hits: Iterable[bool]) -> float:
        return sum(hits) / len(samples)

    return Scores(
        benchmark=benchmark,
        sampling=sampling,
        weight=planned.weight,
        questions=len(questions),
        questions_planned=planned.questions,
        samples=len(samples),
        samples_planned=planned.questions * plan.samples,
        least=min(question.samples for question in questions),
        accuracy=metrics.estimate(accuracy.questions, times),
        nested=None if accuracy.nested is None else metrics.interval(value, accuracy.nested),
        seeds=None if accuracy.seeds is None else seed_spread(accuracy.seeds),
        **_curves(plan, benchmark, sampling, questions, times),
        tokens=int(tokens.sum()),
        lengths=_lengths(tokens),
        truncated=share(sample.truncated for sample in samples),
        repetition=share(sample.repetition for sample in samples),
        unanswered=share(sample.answer is None for sample in samples),
        verdicts=dict(Counter(sample.verdict for sample in samples).most_common()),
        finishes=dict(Counter(sample.finish.value for sample in samples).most_common()),
        cost=_cost(calls, int(tokens.sum())) if calls else None,
    )


def _curves(
    plan: RunPlan, benchmark: str, sampling: str, questions: Sequence[Question], times: Times
) -> dict[str, dict[int, Any]]:
    """Everything that goes by k."""
    draw = draws(benchmark, sampling)
    found: dict[str, dict[int, Any]] = {"pass_at_apart": {}}

    def estimates(scores: Iterable[tuple[int, Floats]]) -> dict[int, Estimate]:
        return {k: metrics.estimate(values, times) for k, values in scores}

    if sampling == INDEPENDENT:
        correct, drawn = [question.correct for question in questions], [question.samples for question in questions]
        votes = [question.votes for question in questions]
        sizes = of_one = metrics.sample_sizes(min(drawn))
        found["pass_at"] = estimates((k, metrics.pass_at_k(correct, drawn, k)) for k in sizes)
        found["majority_at"] = estimates((k, metrics.majority_at_k(votes, k, draw)) for k in sizes)
        grown = [[one] for one in votes]
    else:
        grown = [question.by_seed() for question in questions]
        width, fewest = min(len(tree) for some in grown for tree in some), min(map(len, grown))
        of_one = metrics.sample_sizes(width)
        sizes = trees.tree_sizes(width, fewest) if width == plan.per_seed else of_one
        found["pass_at"] = estimates((k, trees.pass_at_k(grown, width, k)) for k in sizes)
        found["majority_at"] = estimates((k, trees.majority_at_k(grown, width, k, draw)) for k in sizes)
        if fewest > 1:
            apart = metrics.sample_sizes(fewest)
            found["pass_at_apart"] = estimates((k, trees.pass_at_k_apart(grown, k)) for k in apart)
    found["g_pass_at"] = {k: _g_pass(grown, k, times) for k in of_one}
    return found


def _g_pass(grown: Sequence[Sequence[Classes]], k: int, times: Times) -> dict[str, Estimate]:
    """G-Pass@k of one tree, or of independent samples, by threshold."""

    def scores(count: Callable[[list[int], list[int]], Floats]) -> Estimate:
        per_question = [
            count([int((votes == CORRECT).sum()) for votes in some], [len(votes) for votes in some]).mean()
            for some in grown
        ]
        return metrics.estimate(np.array(per_question), times)

    found = {
        f"{share:g}": scores(lambda right, drawn, share=share: metrics.g_pass_at_k(right, drawn, k, share))
        for share in metrics.G_PASS_SHARES
    }
    if k > 1:  # of one sample the mean over thresholds above one half is over none
        found["mean"] = scores(lambda right, drawn: metrics.mean_g_pass_at_k(right, drawn, k))
    return found


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
    plan: RunPlan,
    accuracies: Mapping[str, _Accuracy],
    scores: Sequence[Scores],
    calls: Mapping[tuple[str, str], Sequence[Call]],
) -> Overall:
    averages = {name: accuracy.questions for name, accuracy in accuracies.items()}
    times = {name: resamples_of(name, len(part)) for name, part in averages.items()}
    weights = {score.benchmark: score.weight for score in scores}
    weighted = metrics.weighted_estimate(averages, weights, times)[0]
    nested = _weighted({name: accuracy.nested for name, accuracy in accuracies.items()}, weights)
    seeds = _weighted({name: accuracy.seeds for name, accuracy in accuracies.items()}, weights)
    made = [calls.get((score.benchmark, score.sampling), ()) for score in scores]
    tokens = sum(score.tokens for score in scores)
    return Overall(
        sampling=scores[0].sampling,
        weighted=weighted,
        nested=None if nested is None else metrics.interval(weighted.value, nested),
        seeds=None if seeds is None else seed_spread(seeds.tolist()),
        unweighted=metrics.weighted_estimate(averages, dict.fromkeys(weights, 1.0), times)[0],
        complete=len(scores) == len(plan.benchmarks) and all(score.complete for score in scores),
        cost=_cost([call for part in made for call in part], tokens) if all(made) else None,
    )


def _weighted(parts: Mapping[str, Floats | list[float] | None], weights: Mapping[str, float]) -> Floats | None:
    """The weighted mean of what every benchmark has; None where one has nothing."""
    known = {name: np.asarray(part) for name, part in parts.items() if part is not None}
    if len(known) < len(parts):
        return None
    shares = np.array([weights[name] for name in known], dtype=np.float64)
    return shares / shares.sum() @ np.stack(list(known.values()))
