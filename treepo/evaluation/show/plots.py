"""Plots as SVG text that stands in a page: they take the page's colours for text and lines."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no screen needed

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from treepo.evaluation.count.compare import Comparison
from treepo.evaluation.count.logprobs import LogProbs, Spread
from treepo.evaluation.count.scores import Summary

_INK = "#123456"
"""A colour that nothing else has: it becomes the page's own colour of text."""
_STYLE: Any = {  # matplotlib names every key in its type
    "svg.fonttype": "none",
    "svg.hashsalt": "treepo",
    "font.family": "sans-serif",
    "font.size": 10,
    "legend.frameon": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot.

    Attributes:
        name: Of its file.
        title: What it shows, in words for readers who cannot see it too.
        svg: The ``<svg>`` element.
    """

    name: str
    title: str
    svg: str


def all_plots(summary: Summary, log_probs: Sequence[LogProbs]) -> list[Plot]:
    """The plots of a report; those of log-probabilities only where there are some."""
    plots = [_accuracy(summary), _by_k(summary)]
    if log_probs:
        plots.append(_positions(log_probs))
    if any(part.segments for part in log_probs):
        plots += [_segments(log_probs), _forks(log_probs)]
    return plots


def difference_plot(comparison: Comparison) -> Plot:
    """The difference of two runs with its interval, by benchmark and overall; to the right the second run is better."""
    with plt.rc_context(_STYLE):
        parts = [*comparison.differences, comparison.weighted, comparison.unweighted][::-1]
        figure, (axes,) = _draw(1, height=1.2 + 0.3 * len(parts))
        for place, part in enumerate(parts):
            gap = part.difference
            (line,) = axes.plot([100 * gap.low, 100 * gap.high], [place, place], linewidth=2)
            axes.plot([100 * gap.value], [place], marker="o", color=line.get_color())
        axes.axvline(0, color=_INK, linestyle=":", linewidth=1)
        axes.set_yticks(range(len(parts)), [part.name for part in parts])
        axes.set(xlabel="difference of avg@k, points", ylim=(-0.6, len(parts) - 0.4))
        return _plot(figure, "difference", "Difference of the second run from the first, with its 95% interval")


def _draw(columns: int, *, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(1, columns, figsize=(8, height), layout="constrained", squeeze=False)
    for one in axes.flat:
        one.grid(alpha=0.25, color=_INK)
        one.spines[["top", "right"]].set_visible(False)
    return figure, list(axes.flat)


def _plot(figure: Figure, name: str, title: str) -> Plot:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plt.close(figure)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    # One page holds several plots, whose ids must not meet, and its width is the reader's.
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]+")[^>]*>', rf'<svg {_NAMESPACES} \1 role="img">', svg, count=1)
    return Plot(name=name, title=title, svg=svg.strip())


_NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def _accuracy(summary: Summary) -> Plot:
    with plt.rc_context(_STYLE):
        figure, (axes,) = _draw(1)
        benchmarks = list(dict.fromkeys(score.benchmark for score in summary.scores))
        samplings = [overall.sampling for overall in summary.overall]
        width = 0.8 / len(samplings)
        for number, sampling in enumerate(samplings):
            scores = [score for score in summary.scores if score.sampling == sampling]
            places = [
                benchmarks.index(score.benchmark) + (number - (len(samplings) - 1) / 2) * width for score in scores
            ]
            values = [100 * score.accuracy.value for score in scores]
            # A percentile interval of a skewed score may lie beside its mean: no bar is shorter than nothing.
            below = [max(0.0, value - 100 * score.accuracy.low) for value, score in zip(values, scores, strict=True)]
            above = [max(0.0, 100 * score.accuracy.high - value) for value, score in zip(values, scores, strict=True)]
            axes.bar(places, values, 0.92 * width, yerr=[below, above], ecolor=_INK, capsize=2, label=sampling)
        axes.set_xticks(range(len(benchmarks)), benchmarks)
        axes.set(ylabel="avg@k, %", ylim=(0, None))
        figure.legend(loc="outside upper center", ncols=4)
        return _plot(figure, "accuracy", "Accuracy by benchmark, with 95% intervals over questions")


def _by_k(summary: Summary) -> Plot:
    with plt.rc_context(_STYLE):
        figure, (left, right) = _draw(2)
        for score in summary.scores:
            label = f"{score.benchmark}, {score.sampling}"
            for axes, curve in ((left, score.pass_at), (right, score.majority_at)):
                axes.plot(list(curve), [100 * point.value for point in curve.values()], marker="o", ms=3, label=label)
        for axes, name in ((left, "pass@k"), (right, "maj@k")):
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.set(xlabel="k", ylabel=f"{name}, %")
        lines, labels = left.get_legend_handles_labels()
        figure.legend(lines, labels, loc="outside lower center", ncols=4, fontsize=7)
        return _plot(figure, "by_k", "pass@k and maj@k over k")


def _band(axes: Axes, spreads: Sequence[Spread], label: str) -> None:
    middle = [(spread.first + spread.last) / 2 for spread in spreads]
    (line,) = axes.plot(middle, [spread.mean for spread in spreads], marker=".", label=label)
    axes.fill_between(
        middle,
        [spread.mean - spread.deviation for spread in spreads],
        [min(0.0, spread.mean + spread.deviation) for spread in spreads],
        color=line.get_color(),
        alpha=0.15,
        linewidth=0,
    )


def _positions(log_probs: Sequence[LogProbs]) -> Plot:
    with plt.rc_context(_STYLE):
        figure, (axes,) = _draw(1)
        for part in log_probs:
            _band(axes, part.positions, part.sampling)
        axes.set(xlabel="token position in the response", ylabel="log-probability")
        axes.legend()
        return _plot(figure, "logprob_positions", "Log-probability by token position: mean and one standard deviation")


def _segments(log_probs: Sequence[LogProbs]) -> Plot:
    with plt.rc_context(_STYLE):
        figure, (axes,) = _draw(1)
        for part in log_probs:
            if part.segments:
                _band(axes, part.segments, part.sampling)
        axes.set(xlabel="segment of the path", ylabel="log-probability")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
        return _plot(figure, "logprob_segments", "Log-probability by segment: mean and one standard deviation")


def _forks(log_probs: Sequence[LogProbs]) -> Plot:
    with plt.rc_context(_STYLE):
        figure, (axes,) = _draw(1)
        kinds: Mapping[str, str] = {"forks": "after a fork", "boundaries": "after a boundary without a fork"}
        for part in log_probs:
            for (kind, words), style in zip(kinds.items(), ("-", "--"), strict=True):
                spreads: Sequence[Spread] = getattr(part, kind)
                if spreads:
                    middle = [(spread.first + spread.last) / 2 for spread in spreads]
                    means = [spread.mean for spread in spreads]
                    axes.plot(middle, means, style, marker=".", label=f"{part.sampling}, {words}")
            if part.elsewhere is not None:
                axes.axhline(part.elsewhere.mean, color=_INK, linestyle=":", linewidth=1)
        axes.set(xlabel="tokens after the beginning of the segment", ylabel="mean log-probability")
        if axes.get_lines():
            axes.legend()
        return _plot(figure, "logprob_forks", "Mean log-probability at forks; dotted: later tokens of the segments")
