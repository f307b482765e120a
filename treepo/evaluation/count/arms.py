"""Tree sampling beside independent sampling, in the layout of the paper: accuracy, accelerator hours, what was saved.

A tree is to be judged by two ratios at once: tokens decoded over the tokens that its trajectories hold, which sharing
makes small, and tokens decoded per trajectory over those of independent sampling, which longer trajectories make large
again. So the length ratio stands beside them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from treepo.evaluation.count.metrics import Estimate
from treepo.evaluation.count.scores import Cost, Overall, Summary
from treepo.evaluation.keep.records import INDEPENDENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way of sampling, over all benchmarks.

    Savings and the last two ratios are per trajectory, and None where there is nothing to compare with: no independent
    sampling in the run, or no calls recorded.

    Attributes:
        sampling: The label.
        accuracies: avg@k by benchmark.
        overall: avg@k weighted by the benchmarks' weights.
        complete: Whether all planned samples are there.
        accelerator_hours: Time of all accelerators.
        hours_saved: One minus its accelerator time over that of independent sampling.
        generated_over_contained: Tokens decoded over tokens in trajectories.
        generated_ratio: Tokens decoded over those of independent sampling.
        length_ratio: Tokens of a trajectory over those of an independent sample.
    """

    sampling: str
    accuracies: Mapping[str, float]
    overall: Estimate
    complete: bool
    accelerator_hours: float | None
    hours_saved: float | None
    generated_over_contained: float | None
    generated_ratio: float | None
    length_ratio: float | None


def compare_arms(summary: Summary) -> list[Arm]:
    """The ways of sampling of a run, independent sampling first."""
    base = next((overall for overall in summary.overall if overall.sampling == INDEPENDENT), None)
    ordered = sorted(summary.overall, key=lambda overall: overall.sampling != INDEPENDENT)
    return [_arm(summary, overall, base) for overall in ordered]


def _arm(summary: Summary, overall: Overall, base: Overall | None) -> Arm:
    cost = overall.cost
    beside = base.cost if base is not None and base is not overall else None
    return Arm(
        sampling=overall.sampling,
        accuracies={
            score.benchmark: score.accuracy.value for score in summary.scores if score.sampling == overall.sampling
        },
        overall=overall.weighted,
        complete=overall.complete,
        accelerator_hours=cost.accelerator_seconds / 3600 if cost else None,
        hours_saved=_saved(_ratio(cost, beside, "accelerator_seconds")),
        generated_over_contained=cost.tokens_generated / cost.tokens_in_trajectories
        if cost and cost.tokens_in_trajectories
        else None,
        generated_ratio=_ratio(cost, beside, "tokens_generated"),
        length_ratio=_ratio(cost, beside, "tokens_in_trajectories"),
    )


def _ratio(cost: Cost | None, base: Cost | None, quantity: str) -> float | None:
    """A quantity per trajectory over that of independent sampling."""
    if cost is None or base is None or not (cost.trajectories and base.trajectories and getattr(base, quantity)):
        return None
    return (getattr(cost, quantity) / cost.trajectories) / (getattr(base, quantity) / base.trajectories)


def _saved(ratio: float | None) -> float | None:
    return None if ratio is None else 1 - ratio
