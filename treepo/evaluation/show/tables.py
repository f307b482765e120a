"""The tables of the reports, as text: the same for Markdown and for the page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from treepo.evaluation.count.arms import Arm
from treepo.evaluation.count.logprobs import LogProbs, Spread
from treepo.evaluation.count.metrics import G_PASS_SHARES, Estimate
from treepo.evaluation.count.scores import Scores, Summary
from treepo.evaluation.count.seeds import SeedSpread

NOTHING = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        title: Its heading.
        note: What the numbers are.
        columns: Heads of the columns.
        rows: Cells, as many in each row as there are columns.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def run_tables(summary: Summary, arms: Sequence[Arm], log_probs: Sequence[LogProbs]) -> list[Table]:
    """All tables of a run's report."""
    tables = [
        _arms(summary, arms),
        _accuracy(summary),
        _seeds(summary),
        _by_k(
            summary,
            "pass@k",
            "Chance that one of k samples is right, estimated from all n of a question (Chen et al. 2021); %. For "
            "independent samples it is unbiased. Of trees, the k trajectories are of one tree of width n, or of whole "
            "trees where k is above n: not of a tree that is grown with width k, and not independent of each other.",
            "pass_at",
        ),
        _by_k(
            summary,
            "pass@k, each trajectory of another tree",
            "Chance that one of k trajectories of k trees is right; %. They are independent, so that this is what can "
            "be compared with the pass@k of independent samples.",
            "pass_at_apart",
        ),
        _g_pass(summary),
        _by_k(
            summary,
            "maj@k",
            "Chance that the most frequent answer of k samples is right; a tie counts in proportion; %.",
            "majority_at",
        ),
        _responses(summary),
        _speed(summary),
        _verdicts(summary),
    ]
    for part in log_probs:
        tables += _log_probs(part)
    return [table for table in tables if table.rows]


def _arms(summary: Summary, arms: Sequence[Arm]) -> Table:
    benchmarks = list(dict.fromkeys(score.benchmark for score in summary.scores))
    return Table(
        title="Sampling",
        note="avg@k in %; overall is weighted by questions. What is saved and both ratios are per trajectory, beside "
        "independent sampling.",
        columns=(
            "sampling",
            *benchmarks,
            "overall",
            "accelerator hours",
            "hours saved",
            "decoded / in trajectories",
            "decoded / independent",
            "length / independent",
        ),
        rows=tuple(
            (
                arm.sampling + ("" if arm.complete else " (incomplete)"),
                *(_share(arm.accuracies.get(name)) for name in benchmarks),
                _estimate(arm.overall),
                _number(arm.accelerator_hours, ".4g"),
                NOTHING if arm.hours_saved is None else f"{100 * arm.hours_saved:.0f}%",
                _number(arm.generated_over_contained, ".3f"),
                _number(arm.generated_ratio, ".3f"),
                _number(arm.length_ratio, ".3f"),
            )
            for arm in arms
        ),
    )


def _accuracy(summary: Summary) -> Table:
    rows = [
        (
            score.benchmark,
            score.sampling,
            f"{score.questions} of {score.questions_planned}",
            f"{score.samples} of {score.samples_planned}",
            f"{score.weight:g}",
            _estimate(score.accuracy),
        )
        for score in summary.scores
    ]
    for overall in summary.overall:
        rows.append(("overall, weighted", overall.sampling, "", "", "", _estimate(overall.weighted)))
        rows.append(("overall, unweighted", overall.sampling, "", "", "", _estimate(overall.unweighted)))
    return Table(
        title="Accuracy",
        note="avg@k in %, k being all samples of a question, with 95% bootstrap intervals over questions.",
        columns=("benchmark", "sampling", "questions", "samples", "weight", "avg@k"),
        rows=tuple(rows),
    )


def _seeds(summary: Summary) -> Table:
    parts: list[tuple[str, str, Estimate, Estimate | None, SeedSpread | None]] = [
        (score.benchmark, score.sampling, score.accuracy, score.nested, score.seeds) for score in summary.scores
    ]
    parts += [
        ("overall, weighted", overall.sampling, overall.weighted, overall.nested, overall.seeds)
        for overall in summary.overall
    ]
    return Table(
        title="Seeds",
        note="avg@k in % of each seed: mean, standard deviation and each. Beside it the 95% intervals over questions "
        "and over both, questions and samples (nested bootstrap). The deviation says how far a run with one seed may "
        "be off on these questions; the interval over questions, how far these may be off from others of their kind.",
        columns=("benchmark", "sampling", "mean ± deviation", "seeds", "over questions", "over both"),
        rows=tuple(
            (
                benchmark,
                sampling,
                f"{100 * seeds.mean:.1f} ± {100 * seeds.deviation:.1f}",
                " ".join(f"{100 * mean:.1f}" for mean in seeds.means),
                _interval(accuracy),
                NOTHING if nested is None else _interval(nested),
            )
            for benchmark, sampling, accuracy, nested, seeds in parts
            if seeds is not None and seeds.deviation is not None
        ),
    )


def _g_pass(summary: Summary) -> Table:
    """At the largest k of a third of the samples: with less room, the paper found it too noisy."""
    thresholds = [f"{share:g}" for share in G_PASS_SHARES]
    rows = []
    for score in summary.scores:
        within = [k for k in score.g_pass_at if k > 1 and 3 * k <= max(score.g_pass_at)]
        if within:
            found = score.g_pass_at[max(within)]
            cells = (_estimate(found[name]) for name in (*thresholds, "mean"))
            rows.append((score.benchmark, score.sampling, str(max(within)), *cells))
    return Table(
        title="G-Pass@k",
        note="Chance that at least this share of k samples is right (arXiv 2412.13147), and mG-Pass@k, its mean over "
        "shares above one half; %. k is the largest power of two of which three are among the samples; of trees, of "
        "one tree.",
        columns=("benchmark", "sampling", "k", *(f"share {name}" for name in thresholds), "mG-Pass@k"),
        rows=tuple(rows),
    )


def _by_k(summary: Summary, title: str, note: str, field: str) -> Table:
    curves: list[tuple[Scores, dict[int, Estimate]]] = [(score, getattr(score, field)) for score in summary.scores]
    sizes = sorted({k for _, curve in curves for k in curve})
    return Table(
        title=title,
        note=note,
        columns=("benchmark", "sampling", *(f"k = {k}" for k in sizes)),
        rows=tuple(
            (score.benchmark, score.sampling, *(_estimate(curve[k]) if k in curve else NOTHING for k in sizes))
            for score, curve in curves
            if curve
        ),
    )


def _responses(summary: Summary) -> Table:
    return Table(
        title="Responses",
        note="Tokens of a response, and shares of responses that a limit cut, that repeat themselves, or that hold no "
        "answer.",
        columns=("benchmark", "sampling", "mean", "median", "90%", "99%", "longest", "cut", "repetition", "no answer"),
        rows=tuple(
            (
                score.benchmark,
                score.sampling,
                f"{score.lengths.mean:.1f}",
                *(f"{value:.0f}" for value in (score.lengths.p50, score.lengths.p90, score.lengths.p99)),
                str(score.lengths.longest),
                *(f"{100 * value:.1f}%" for value in (score.truncated, score.repetition, score.unanswered)),
            )
            for score in summary.scores
        ),
    )


def _speed(summary: Summary) -> Table:
    costs = [(score.benchmark, score.sampling, score.cost) for score in summary.scores]
    costs += [("all", overall.sampling, overall.cost) for overall in summary.overall]
    return Table(
        title="Speed",
        note="Wall time counts stretches in which several calls ran once.",
        columns=("benchmark", "sampling", "trajectories/s", "tokens/s", "wall, s", "accelerator, s", "tokens decoded"),
        rows=tuple(
            (
                benchmark,
                sampling,
                _number(cost.trajectories_per_second, ".3g"),
                _number(cost.tokens_per_second, ",.0f"),
                f"{cost.seconds:,.1f}",
                f"{cost.accelerator_seconds:,.1f}",
                f"{cost.tokens_generated:,}",
            )
            for benchmark, sampling, cost in costs
            if cost is not None
        ),
    )


def _verdicts(summary: Summary) -> Table:
    rows = (
        (score.benchmark, score.sampling, verdict, f"{count:,}", f"{100 * count / score.samples:.1f}%")
        for score in summary.scores
        for verdict, count in score.verdicts.items()
    )
    return Table(
        title="Verdicts",
        note="What decided whether an answer is right.",
        columns=("benchmark", "sampling", "decided by", "answers", "share"),
        rows=tuple(rows),
    )


def _log_probs(part: LogProbs) -> list[Table]:
    def table(what: str, head: str, rows: Iterable[tuple[str, Spread]]) -> Table:
        return Table(
            title=f"Log-probability {what}, {part.sampling}",
            note="Every decoded token counts once.",
            columns=(head, "tokens", "mean", "standard deviation"),
            rows=tuple(
                (label, f"{spread.tokens:,}", f"{spread.mean:.4f}", f"{spread.deviation:.4f}") for label, spread in rows
            ),
        )

    forks = [("after a fork, token " + _range(spread), spread) for spread in part.forks]
    forks += [("after a boundary without a fork, token " + _range(spread), spread) for spread in part.boundaries]
    if part.elsewhere is not None:
        forks.append(("later in these segments", part.elsewhere))
    return [
        table("by position", "tokens", [(_range(s), s) for s in part.positions] + [("all", part.everywhere)]),
        table("by segment", "segment", [(_range(spread), spread) for spread in part.segments]),
        table("at forks", "where", forks),
    ]


def _range(spread: Spread) -> str:
    return str(spread.first) if spread.first == spread.last else f"{spread.first} to {spread.last}"


def _estimate(found: Estimate) -> str:
    return f"{100 * found.value:.1f} {_interval(found)}"


def _interval(found: Estimate) -> str:
    return f"[{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{100 * value:.1f}"


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else f"{value:{form}}"
