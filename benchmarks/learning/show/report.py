"""The page of the study: its tables and plots drawn anew from the results, the words beside them left as they are."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path
from statistics import fmean, median

from benchmarks.learning.arms import ARMS, BASELINE, GROUPS, PACKED, Group
from benchmarks.learning.results import RunResult, load_newest
from benchmarks.learning.show.curves import (
    Budget,
    CostToReach,
    Curves,
    build_curves,
    common_budget,
    compare,
    cost_to_reach,
    summarise,
)
from benchmarks.learning.show.plots import plot_curves, plot_differences
from benchmarks.learning.show.stats import Interval
from benchmarks.learning.tasks import WORDS, Task

_HEADINGS = {Group.MAIN: "The arms", Group.CREDITS: "Other credits", Group.ABLATIONS: "Ablations"}
_TITLES = {
    "last": "after the last step",
    "mean": "mean over the steps",
    "at_tokens": "at equal tokens",
    "at_seconds": "at equal seconds",
}


_SPENT = {"tokens": f"tokens, share of `{PACKED}`'s", "seconds": f"seconds, share of `{PACKED}`'s"}
_PARTS = {"gen": "of it: rollout", "old_log_prob": "old log-probs", "update_actor": "update"}

# With fewer seeds the intervals say little, and a bold one would say more than it knows.
_SEEDS_FOR_BOLD = 5

# By arm and the arm it is compared with, and by measure: the difference, and in how many seeds it is above zero.
_Differences = dict[tuple[str, str], dict[str, tuple[Interval, int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Study:
    """The results, ready to be tabled: by arm in the order of the arms."""

    results: dict[str, list[RunResult]]
    curves: Curves
    budget: Budget


def write_report(folder: Path, page: Path, *, task: Task = WORDS) -> None:
    """Draws the plots and puts the tables between the page's markers.

    Args:
        folder: The results; the plots are put there too.
        page: The Markdown page, with a line for the begin and one for the end of what is written.
        task: Whose results they are.

    Raises:
        ValueError: There are no results, they do not fit together, or the page has no markers.
    """
    results, left_out = load_newest(folder)
    if not results:
        raise ValueError(f"no results in {folder}; make them with `python -m benchmarks.learning run`")
    page.write_text(replace_block(page.read_text(), _block(results, left_out, folder, page, task), task.markers))


def replace_block(text: str, block: str, markers: tuple[str, str]) -> str:
    """Puts a block between the markers of a page.

    Args:
        text: The page's.
        block: What is put there.
        markers: The lines before and behind it.

    Raises:
        ValueError: The page does not hold each marker once, in order.
    """
    begin, end = markers
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"the page needs one line {begin!r} and, below it, one line {end!r}")
    before, rest = text.split(begin)
    return f"{before}{begin}\n\n{block}\n\n{end}{rest.split(end)[1]}"


def _block(results: Sequence[RunResult], left_out: int, folder: Path, page: Path, task: Task) -> str:
    parts = []
    for group, names in GROUPS.items():
        study = _gather(results, names)
        if study is not None:
            parts += _section(_HEADINGS[group], study, folder, page, task)
    parts.append(_conditions(results, left_out, task))
    return "\n\n".join(parts)


def _gather(results: Sequence[RunResult], names: Sequence[str]) -> _Study | None:
    """The runs of some arms and of those that they are compared with; None where none of them ran."""
    present = [name for name in names if any(result.arm == name for result in results)]
    if not present:
        return None
    ran = {result.arm for result in results}
    wanted = {*present, *(other for name in present for other in _against(name, ran))}
    by_arm = {name: [result for result in results if result.arm == name] for name in ARMS if name in wanted}
    by_arm = {name: runs for name, runs in by_arm.items() if runs}
    curves = build_curves([result for runs in by_arm.values() for result in runs])
    curves = {name: curves[name] for name in by_arm}
    return _Study(results=by_arm, curves=curves, budget=common_budget(curves))


def _section(title: str, study: _Study, folder: Path, page: Path, task: Task) -> list[str]:
    slug = title.lower().replace(" ", "_")
    picture, forest = folder / f"{slug}.png", folder / f"{slug}_differences.png"
    plot_curves(study.curves, picture)
    parts = [
        _heading(title, task),
        _accuracy_table(study),
        f"![held-out accuracy against steps, tokens and time]({relpath(picture, page.parent)})",
        _cost_table(study),
    ]
    differences = _differences(study)
    if differences:
        rows = {
            f"{name} - {other}": {key: one for key, (one, _) in measures.items()}
            for (name, other), measures in differences.items()
        }
        plot_differences(rows, _TITLES, forest)
        count = len(rows) * len(_TITLES)
        parts += [
            "Differences between runs of the same seed, in points, with their intervals; in brackets, in how many "
            f"seeds the arm is ahead. **Bold**: {_SEEDS_FOR_BOLD} seeds or more, and the interval excludes zero. Of "
            f"{count} intervals, {count / 20:.0f} would do so by chance if no arm differed.",
            _difference_table(differences),
            f"![paired differences]({relpath(forest, page.parent)})",
            *_cost_to_reach_table(study),
        ]
    return parts


def _accuracy_table(study: _Study) -> str:
    thousand, seconds = study.budget.tokens / 1000, study.budget.seconds
    head = ["arm", "seeds", "after the last step", "mean over the steps"]
    head += [f"at {thousand:,.0f} thousand tokens", f"at {seconds:,.0f} s"]
    rows = []
    for name, runs in study.curves.items():
        read = summarise(runs, study.budget)
        rows.append([f"`{name}`: {ARMS[name].says}", str(len(runs)), *(_percent(read[key]) for key in _TITLES)])
    words = "Held-out accuracy in percent, with 95% intervals over the seeds."
    return f"{words}\n\n{_table(head, rows)}"


def _cost_table(study: _Study) -> str:
    first = next(iter(study.results.values()))[0].seconds_by_part
    parts = [part for part in _PARTS if part in first]
    head = ["arm", "tokens generated, thousand", "generated / in trajectories", "seconds of a step"]
    head += [*(_PARTS[part] for part in parts), "trajectories by fallback"]
    rows = []
    for name, runs in study.results.items():
        generated = [sum(run.tokens_generated) for run in runs]
        contained = [sum(run.tokens_in_trajectories) for run in runs]
        rows.append(
            [
                f"`{name}`",
                f"{fmean(generated) / 1000:,.0f}",
                f"{sum(generated) / sum(contained):.3f}",
                f"{fmean(median(run.seconds) for run in runs):.2f}",
                *(f"{fmean(run.seconds_by_part[part] for run in runs):.2f}" for part in parts),
                _share([run.fallback_share for run in runs if run.fallback_share is not None]),
            ]
        )
    return f"What a run costs; a step's seconds are the median, its parts are means.\n\n{_table(head, rows)}"


def _against(name: str, ran: Collection[str]) -> tuple[str, ...]:
    """The arms that one is compared with; where GRPO did not run packed, with GRPO as it ran."""
    own = ARMS[name].against
    if PACKED in ran:
        return own
    return tuple(BASELINE if other == PACKED else other for other in own)


def _differences(study: _Study) -> _Differences:
    found = {}
    for name, runs in study.curves.items():
        for other in _against(name, study.curves):
            compared = compare(runs, study.curves.get(other, {}), study.budget)
            if compared is not None:
                found[name, other] = compared
    return found


def _difference_table(differences: _Differences) -> str:
    published = any(ARMS[name].published for name, _ in differences)
    head = ["arm", "against", *_TITLES.values(), *(["the paper"] if published else [])]
    rows = []
    for (name, other), measures in differences.items():
        cells = [f"`{name}`", f"`{other}`", *(_points(*measures[key]) for key in _TITLES)]
        rows.append([*cells, *([ARMS[name].published or ""] if published else [])])
    return _table(head, rows)


def _cost_to_reach_table(study: _Study) -> list[str]:
    """What the arms need to be as good as packed GRPO at its end; nothing where it is not in the comparison."""
    base = study.curves.get(PACKED)
    rows = []
    for name, runs in study.curves.items():
        read = {axis: cost_to_reach(runs, base, axis) for axis in _SPENT} if base else {}
        found = [one for one in read.values() if one is not None]
        if found:
            rows.append([f"`{name}`", str(found[0].count), *map(_reached, found)])
    if not rows:
        return []
    words = (
        f"What an arm spends until its mean accuracy first is that of `{PACKED}` after the last step, as a share of "
        f"all that `{PACKED}` spends; with 95% intervals by a bootstrap over the seeds, from five on. `never`: not "
        f"within its steps. `{PACKED}` itself may have been so high before its end."
    )
    return [f"{words}\n\n{_table(['arm', 'seeds', *_SPENT.values()], rows)}"]


def _reached(one: CostToReach) -> str:
    share, low, high = ("never" if math.isinf(value) else f"{value:.2f}" for value in (one.share, one.low, one.high))
    return share if math.isnan(one.low) else f"{share} [{low}, {high}]"


def _conditions(results: Sequence[RunResult], left_out: int, task: Task) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in results[0].versions.items())
    days = f"{min(result.finished for result in results)[:10]} to {max(result.finished for result in results)[:10]}"
    together = "in one process each, several at a time" if task.in_process else "one at a time"
    lines = [
        f"- {len(results)} runs, finished {days}, {together}, the arms of a seed one after the other.",
        f"- Every accuracy is from {results[0].held_out_samples:,} samples at temperature 1. Before the first step, "
        f"the warm-started model: {100 * fmean(result.accuracy[0] for result in results):.1f}%.",
        f"- {_clock(results, task)} A run took "
        f"{fmean(result.wall_seconds for result in results):.0f} s in all. Load of the machine before it: "
        f"{fmean(result.load_before for result in results):.2f}, at most "
        f"{max(result.load_before for result in results):.2f}.",
        f"- {versions}.",
    ]
    if left_out:
        lines.append(f"- {left_out} results of other configurations of these arms are left out.")
    return "\n".join([_heading("Conditions", task), "", *lines])


def _clock(results: Sequence[RunResult], task: Task) -> str:
    if task.in_process:
        return "Seconds are processor seconds of growing the trees and of the update, the first step's with them."
    return (
        "Seconds are those of training steps by verl's clock, without start-up "
        f"({fmean(result.start_up_seconds for result in results):.0f} s), saving and evaluation; the first step, in "
        "which workers start, counts as a usual one."
    )


def _heading(title: str, task: Task) -> str:
    return f"## {task.title}: {title[0].lower()}{title[1:]}" if task.title else f"## {title}"


def _percent(one: Interval) -> str:
    return f"{one.mean:.1f}" if math.isnan(one.low) else f"{one.mean:.1f} [{one.low:.1f}, {one.high:.1f}]"


def _points(one: Interval, ahead: int) -> str:
    if math.isnan(one.low):
        return f"{one.mean:+.1f} ({ahead}/{one.count})"
    text = f"{one.mean:+.1f} [{one.low:+.1f}, {one.high:+.1f}]"
    bold = one.excludes_zero and one.count >= _SEEDS_FOR_BOLD
    return f"{f'**{text}**' if bold else text} ({ahead}/{one.count})"


def _share(shares: Sequence[float]) -> str:
    return f"{100 * fmean(shares):.0f}%" if shares else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
