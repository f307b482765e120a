"""What a run comes to: the numbers of ``results.json``, which the reports show."""

from dataclasses import dataclass

from treepo.evaluation.count.metrics import Estimate
from treepo.evaluation.count.seeds import SeedSpread


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
        accuracy: avg@k, k being all samples of a question; its interval draws questions.
        nested: The same with an interval that draws questions and samples, see `treepo.evaluation.count.seeds`; None
            where a question has one sample or tree alone.
        seeds: avg@k of each seed; None in an unfinished run where a question lacks some seed's samples.
        pass_at: pass@k by k; of trees, see `treepo.evaluation.count.trees`.
        pass_at_apart: pass@k of trajectories that are each of another tree, by k; empty for independent samples.
        majority_at: maj@k by k.
        g_pass_at: G-Pass@k by k and by the share of right samples that it asks for, as text; its mean over these as
            ``mean``.
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
    nested: Estimate | None
    seeds: SeedSpread | None
    pass_at: dict[int, Estimate]
    pass_at_apart: dict[int, Estimate]
    majority_at: dict[int, Estimate]
    g_pass_at: dict[int, dict[str, Estimate]]
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
        weighted: avg@k weighted by the benchmarks' weights; its interval draws questions.
        nested: The same with an interval that draws questions and samples; None where a benchmark has none.
        seeds: The weighted avg@k of each seed; None where a benchmark has none.
        unweighted: avg@k with all benchmarks alike.
        complete: Whether all planned samples of all planned benchmarks are there.
        cost: Of all benchmarks; None where one of them has none.
    """

    sampling: str
    weighted: Estimate
    nested: Estimate | None
    seeds: SeedSpread | None
    unweighted: Estimate
    complete: bool
    cost: Cost | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run in numbers.

    Attributes:
        scores: By benchmark and sampling, in the order of the plan; only where there are samples.
        overall: By sampling, in the order of the plan.
    """

    scores: tuple[Scores, ...]
    overall: tuple[Overall, ...]
