"""The study's plots."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen needed

from matplotlib import pyplot as plt

from benchmarks.learning.show.curves import Curves, band
from benchmarks.learning.show.stats import Interval

_AXES = {"steps": "training steps", "tokens": "tokens generated, thousand", "seconds": "seconds of training"}
# As many as arms in a plot at least.
COLOURS = (
    *("black", "tab:gray", "tab:green", "tab:blue", "tab:orange", "tab:red"),
    *("tab:purple", "tab:brown", "tab:pink", "tab:olive", "tab:cyan"),
)


def plot_curves(curves: Curves, path: Path) -> None:
    """Held-out accuracy against steps, tokens and time, a line and a band per arm.

    Args:
        curves: By arm and seed, in the order of the legend.
        path: The PNG file.
    """
    figure, panels = plt.subplots(1, 3, figsize=(14, 4.4), sharey=True, layout="constrained")
    for panel, (axis, label) in zip(panels, _AXES.items(), strict=True):
        for colour, (arm, runs) in zip(COLOURS, curves.items(), strict=False):
            places, intervals = band(runs, axis)
            xs = [place / 1000 for place in places] if axis == "tokens" else places
            panel.plot(xs, [one.mean for one in intervals], marker="o", markersize=3.5, color=colour, label=arm)
            panel.fill_between(
                xs, [one.low for one in intervals], [one.high for one in intervals], color=colour, alpha=0.08, lw=0
            )
        panel.set(xlabel=label)
        panel.grid(alpha=0.3)
    panels[0].set(ylabel="held-out accuracy, %")
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def plot_differences(rows: dict[str, dict[str, Interval]], titles: dict[str, str], path: Path) -> None:
    """Paired differences with their intervals, a panel per measure and a row per arm.

    Args:
        rows: By arm and measure.
        titles: Title of every measure's panel.
        path: The PNG file.
    """
    figure, panels = plt.subplots(
        1, len(titles), figsize=(14, 1.2 + 0.4 * len(rows)), sharey=True, layout="constrained", squeeze=False
    )
    places = list(range(len(rows), 0, -1))
    for panel, (measure, title) in zip(panels[0], titles.items(), strict=True):
        for place, intervals in zip(places, rows.values(), strict=True):
            one = intervals[measure]
            panel.plot([one.low, one.high], [place, place], color="tab:blue", lw=2)
            panel.plot([one.mean], [place], marker="o", color="tab:blue")
        panel.axvline(0, color="black", lw=0.8)
        panel.set(xlabel="points", title=title)
        panel.set_yticks(places, list(rows))
        panel.grid(alpha=0.3, axis="x")
    figure.savefig(path, dpi=110)
    plt.close(figure)
