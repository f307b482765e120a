"""Tables and the plot of the update's benchmark."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.update.cell import Arm, Kind, Measured, Outcome, Part

GOAL = 0.85
"""How much of what the token ratio allows is asked for."""

SLOWEST = 1.03
"""Most time of the packed engine over the stock one where nothing is shared."""

APART = {"cpu": 1e-4, "cuda": 2e-2}
"""Largest difference of a log-prob over the largest log-prob: float32 on the CPU, bfloat16 on CUDA, where verl's engine
rounds the log-prob itself to 8 bits unless flash-attn's cross entropy is installed."""

COLUMNS = (
    "rows",
    "part",
    "token ratio",
    "stock, s",
    "packed, s",
    "times as fast",
    "of what the ratio allows",
    "forwards",
    "stock, MiB",
    "packed, MiB",
    "memory ratio",
)


def table(title: str, outcomes: Sequence[Outcome]) -> str:
    """A Markdown table, two lines a cell.

    Medians over the repeats, with the range in brackets; "of what the ratio allows" is the speed-up times the ratio of
    the tokens; forwards are stock and packed.
    """
    lines = ["| " + " | ".join(COLUMNS) + " |", "| --- | --- |" + " ---: |" * (len(COLUMNS) - 2)]
    for outcome in outcomes:
        for part in Part:
            stock, packed = (outcome.found[part][arm] for arm in Arm)
            cells = [
                outcome.cell.title,
                part,
                f"{outcome.ratio:.3f}",
                _range(stock.seconds),
                _range(packed.seconds),
                f"{speed_up(outcome, part):.2f}",
                f"{reached(outcome, part):.0%}",
                f"{stock.micro_batches}, {packed.micro_batches}",
                f"{stock.peak / 2**20:,.0f}",
                f"{packed.peak / 2**20:,.0f}",
                f"{packed.peak / stock.peak:.3f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([f"**{title}**", "", *lines])


def goals(outcomes: Sequence[Outcome]) -> str:
    """Where the goals are met and where they are not, a line each."""
    lines = []
    for part in Part:
        sharing = [outcome for outcome in outcomes if outcome.cell.width > 1]
        missed = [outcome for outcome in sharing if reached(outcome, part) < GOAL]
        if sharing:
            words = "; ".join(f"{outcome.cell.title} ({reached(outcome, part):.0%})" for outcome in missed)
            lines.append(
                f"- {part}: {len(sharing) - len(missed)} of {len(sharing)} cells at {GOAL:.0%} of what the ratio "
                f"allows or above{'; below: ' + words if missed else ''}"
            )
        lines += [
            f"- {part}, nothing shared: {1 / speed_up(outcome, part):.3f} of the stock engine's time "
            f"(at most {SLOWEST} is asked for)"
            for outcome in outcomes
            if outcome.cell.width == 1
        ]
    lines.append(
        f"- largest difference of a log-prob, over the largest log-prob: {max(one.apart for one in outcomes):.1e}"
    )
    return "\n".join(lines)


def too_far_apart(outcomes: Sequence[Outcome], device: str) -> list[str]:
    """Cells in which the arms' log-probs differ by more than rounding, a line each.

    Args:
        outcomes: The cells.
        device: ``cpu`` or ``cuda``: what they ran on.
    """
    return [
        f"{outcome.cell.title}: log-probs differ by {outcome.apart:.1e} of the largest, at most {APART[device]:.0e} is "
        "allowed"
        for outcome in outcomes
        if not outcome.apart <= APART[device]
    ]


def speed_up(outcome: Outcome, part: Part) -> float:
    """Median time of the stock engine over that of the packed one."""
    stock, packed = (median(outcome.found[part][arm].seconds) for arm in Arm)
    return stock / packed


def reached(outcome: Outcome, part: Part) -> float:
    """The speed-up over the largest that the ratio of the tokens allows, if time followed tokens."""
    return speed_up(outcome, part) * outcome.ratio


def record(outcome: Outcome) -> dict[str, object]:
    """Everything about a cell, for a line of JSON."""
    cell = outcome.cell
    return {
        "cell": {name: getattr(cell, name) for name in cell.__dataclass_fields__},
        "row_tokens": outcome.row_tokens,
        "packed_tokens": outcome.packed_tokens,
        "apart": outcome.apart,
        "found": {
            part: {arm: _record(measured) for arm, measured in arms.items()} for part, arms in outcome.found.items()
        },
    }


def _record(measured: Measured) -> dict[str, object]:
    return {name: getattr(measured, name) for name in measured.__dataclass_fields__}


def _range(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def plot(path: Path, by_model: Mapping[str, Sequence[Outcome]]) -> None:
    """Speed-up and memory over the token ratio, a row of plots per model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4 * len(by_model)), layout="constrained")
    grid = figure.subplots(len(by_model), 2, squeeze=False)
    for (model, outcomes), (speed, memory) in zip(by_model.items(), grid, strict=True):
        ratios = sorted({outcome.ratio for outcome in outcomes})
        speed.plot(ratios, [1 / ratio for ratio in ratios], color="grey", linewidth=1, label="1 / ratio")
        speed.plot(
            ratios, [GOAL / ratio for ratio in ratios], color="grey", linestyle=":", linewidth=1, label=f"{GOAL:.0%}"
        )
        memory.plot(ratios, ratios, color="grey", linewidth=1, label="ratio")
        for part, colour in zip(Part, ("tab:blue", "tab:orange"), strict=True):
            for kind, marker in ((Kind.TREE, "o"), (Kind.GROUP, "^")):
                chosen = sorted((one for one in outcomes if one.cell.kind is kind), key=lambda one: one.ratio)
                style = {"color": colour, "marker": marker, "linestyle": "--" if kind is Kind.GROUP else "-"}
                places = [one.ratio for one in chosen]
                label = f"{part}, {kind}s"
                speed.plot(places, [speed_up(one, part) for one in chosen], label=label, **style)
                peaks = [one.found[part][Arm.PACKED].peak / one.found[part][Arm.STOCK].peak for one in chosen]
                memory.plot(places, peaks, label=label, **style)
        speed.set(xlabel="packed tokens / row tokens", ylabel="stock time / packed time", ylim=(0, None), title=model)
        memory.set(xlabel="packed tokens / row tokens", ylabel="packed peak / stock peak", ylim=(0, None), title=model)
        for axes in (speed, memory):
            axes.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
