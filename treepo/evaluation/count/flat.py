"""A run's numbers as one level of names, for loggers."""

import re

from treepo.evaluation.count.metrics import Estimate
from treepo.evaluation.count.scores import Scores, Summary

PREFIX = "evaluation"


def flat_metrics(summary: Summary) -> dict[str, float]:
    """Every headline number under ``evaluation/BENCHMARK/SAMPLING/METRIC``, in shares of one."""
    found: dict[str, float] = {}
    for score in summary.scores:
        place = f"{PREFIX}/{score.benchmark}/{_slug(score.sampling)}"
        _add(found, f"{place}/avg@{score.least}", score.accuracy)
        found |= _of_samples(place, score)
    for overall in summary.overall:
        place = f"{PREFIX}/overall/{_slug(overall.sampling)}"
        _add(found, f"{place}/weighted", overall.weighted)
        _add(found, f"{place}/unweighted", overall.unweighted)
        if overall.seeds is not None and overall.seeds.deviation is not None:
            found[f"{place}/weighted/seed_deviation"] = overall.seeds.deviation
    return found


def _of_samples(place: str, score: Scores) -> dict[str, float]:
    curves = {"pass": score.pass_at, "pass_apart": score.pass_at_apart, "maj": score.majority_at}
    found = {f"{place}/{name}@{k}": each.value for name, curve in curves.items() for k, each in curve.items()}
    if score.seeds is not None and score.seeds.deviation is not None:
        found[f"{place}/avg@{score.least}/seed_deviation"] = score.seeds.deviation
    return found | {
        f"{place}/response_length/mean": score.lengths.mean,
        f"{place}/truncated": score.truncated,
        f"{place}/repetition": score.repetition,
        f"{place}/unanswered": score.unanswered,
    }


def _add(found: dict[str, float], name: str, estimate: Estimate) -> None:
    found |= {name: estimate.value, f"{name}/low": estimate.low, f"{name}/high": estimate.high}


def _slug(sampling: str) -> str:
    """A sampling as part of a name: ``tree_d2`` for ``tree d=2``, which not every logger takes."""
    return re.sub(r"[^\w]+", "_", sampling.replace("=", ""))
