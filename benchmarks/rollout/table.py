"""Tables and plots of the rollout benchmark."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.rollout.cell import LETTERS, Arm, Cell, Measured

Runs = Mapping[Arm, Sequence[Measured]]


def table(cell: Cell, runs: Runs, block_size: int) -> str:
    """A Markdown table: medians over the repeats, with the range in brackets where it is time.

    Recomputed tokens are prompt tokens that were computed though the prompt's tree had them already; in brackets their
    number per request behind the first of each prompt.
    """
    head = [
        "arm",
        "trajectories/s",
        "response tokens/s",
        "tokens generated",
        "prompt tokens computed",
        "from cache",
        "requests",
        "slots in use",
        "length inflation",
        "tokens before a token",
        "recomputed",
        "preempted",
    ]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for arm, measured in runs.items():
        further = _middle(measured, lambda run: run.requests - cell.prompts)
        again = _middle(measured, lambda run: run.recomputed)
        fork = "" if arm is Arm.INDEPENDENT else f"{again:,.0f} ({again / max(1, further):.1f})"
        cells = [
            LETTERS[arm],
            _range(measured, lambda run: run.trajectories / run.seconds),
            f"{_middle(measured, lambda run: run.response_tokens / run.seconds):,.0f}",
            f"{_middle(measured, lambda run: run.generated):,.0f}",
            f"{_middle(measured, lambda run: run.computed):,.0f}",
            f"{_middle(measured, lambda run: run.cached):,.0f}",
            f"{_middle(measured, lambda run: run.requests):,.0f}",
            f"{_middle(measured, lambda run: occupancy(run) / cell.slots):.0%}",
            f"{inflation(runs, arm):.2f}" if Arm.INDEPENDENT in runs else "",
            f"{_middle(measured, lambda run: run.context):.0f}",
            fork,
            f"{_middle(measured, lambda run: run.preempted):,.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([f"**{cell.title}, {cell.slots} slots**", "", *lines, "", *_goals(runs, block_size)])


def _goals(runs: Runs, block_size: int) -> list[str]:
    ours = runs.get(Arm.IN_ENGINE)
    if not ours:
        return []
    lines = [
        f"- (d): {_middle(ours, lambda run: run.requests / run.trajectories):.3f} requests per trajectory; at most "
        f"{block_size} tokens, a KV block, are computed again per fork; "
        f"tokens past the end of a path: {_middle(ours, lambda run: run.discarded / run.generated):.2%}"
    ]
    if Arm.LOCKSTEP in runs:
        ratio = rate(ours) / rate(runs[Arm.LOCKSTEP])
        lines.append(f"- (d) gives {ratio:.2f} x the trajectories per second of (b)")
    if Arm.INDEPENDENT in runs:
        tokens, computed, seconds = against_independent(runs, Arm.IN_ENGINE)
        lines.append(
            f"- per trajectory (d) takes {tokens:.3f} of the decoded tokens and {seconds:.3f} of the time of (a): "
            f"{tokens / seconds:.1%} of what the tokens allow ({computed / seconds:.1%} where the prompt tokens that "
            "either computes count too)"
        )
    return lines


def occupancy(run: Measured) -> float:
    """Mean number of sequences that got a token, over time."""
    spans = [later - earlier for earlier, later in zip([0.0, *run.times], run.times, strict=False)]
    return sum(span * running for span, running in zip(spans, run.running, strict=True)) / run.seconds


def rate(measured: Sequence[Measured]) -> float:
    """Trajectories per second, the median."""
    return _middle(measured, lambda run: run.trajectories / run.seconds)


def inflation(runs: Runs, arm: Arm) -> float:
    """Mean length of an arm's trajectories over that of independent samples."""
    return _mean_length(runs[arm]) / _mean_length(runs[Arm.INDEPENDENT])


def against_independent(runs: Runs, arm: Arm) -> tuple[float, float, float]:
    """Tokens decoded, tokens computed, and seconds, per trajectory, each over those of independent samples."""

    def tokens(run: Measured) -> float:
        return run.generated / run.trajectories

    def computed(run: Measured) -> float:
        return (run.generated + run.computed) / run.trajectories

    def seconds(run: Measured) -> float:
        return run.seconds / run.trajectories

    def ratio(of: Callable[[Measured], float]) -> float:
        return _middle(runs[arm], of) / _middle(runs[Arm.INDEPENDENT], of)

    return ratio(tokens), ratio(computed), ratio(seconds)


def _mean_length(measured: Sequence[Measured]) -> float:
    return sum(run.response_tokens for run in measured) / sum(run.trajectories for run in measured)


def _middle(measured: Sequence[Measured], of: Callable[[Measured], float]) -> float:
    return median(of(run) for run in measured)


def _range(measured: Sequence[Measured], of: Callable[[Measured], float]) -> str:
    values = [of(run) for run in measured]
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def plot_occupancy(path: Path, cell: Cell, runs: Runs) -> None:
    """Sequences in the batch over time, the last repeat of every arm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for arm, measured in runs.items():
        run = measured[-1]
        axes.plot(run.times, run.running, label=LETTERS[arm], linewidth=1)
    axes.axhline(cell.slots, color="grey", linestyle=":", linewidth=1)
    axes.set(xlabel="seconds", ylabel="sequences in the batch", title=cell.title)
    axes.title.set_fontsize(9)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def plot_sweep(path: Path, axis: str, values: Sequence[str], runs: Sequence[Runs]) -> None:
    """Trajectories per second of every arm along a sweep."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    places = range(len(values))
    for arm in runs[0]:
        axes.plot(places, [rate(run[arm]) for run in runs], marker="o", label=LETTERS[arm])
    axes.set_xticks(list(places), values)
    axes.set(xlabel=axis, ylabel="trajectories per second", ylim=(0, None))
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
