"""The stored measurements, and the tables that docs/multi_turn_measured.md shows of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.turns.arms import INDEPENDENT, VERL, WIDTH

RESULTS = Path(__file__).resolve().parents[1] / "results" / "turns"
STORED = RESULTS / "turns.json"

Cell = dict[str, Any]
"""A setting and its steps, each as :class:`benchmarks.turns.arms.Step` has it."""


def read(path: Path = STORED) -> dict[str, list[Cell]]:
    """The stored cells: of the savings, and of the slow tool."""
    return json.loads(path.read_text(encoding="utf-8"))


def savings_table(cells: Sequence[Cell], *, regime: str, prompts: int) -> str:
    """The published table's columns, then what explains them.

    Args:
        cells: All cells.
        regime: ``recheck`` or ``ends``.
        prompts: Prompts in flight together.
    """
    chosen = [cell for cell in cells if (cell["regime"], cell["prompts"]) == (regime, prompts)]
    alone = {cell["depth"]: cell for cell in chosen if cell["arm"] == VERL}
    lines = [
        "| arm | batch_size | num_generation | max_tree_depth | global_step | total inference calls | saving ratio | "
        "train_speed (steps/s) | improvement | steps of the environment | tokens written | prompt tokens computed | "
        "turns per trajectory | length inflation | seconds a step (range) |",
        "| --- " * 15 + "|",
    ]
    for cell in chosen:
        base = alone[cell["depth"]]
        speed, before = 1 / _mean(cell, "seconds"), 1 / _mean(base, "seconds")
        seconds = [step["seconds"] for step in cell["steps"]]
        calls, talks = _sum(cell, "calls"), _sum(cell, "trajectories")
        inflation = _sum(cell, "length") / talks * _sum(base, "trajectories") / _sum(base, "length")
        own = cell["arm"] == VERL
        saved = "" if own else f"{1 - calls / _sum(base, 'calls'):.1%}"
        faster = "" if own else f"{speed / before - 1:+.1%}"
        entries = [
            cell["arm"],
            prompts * WIDTH,
            WIDTH,
            cell["depth"],
            len(cell["steps"]),
            calls,
            saved,
            f"{speed:.3f}",
            faster,
            _sum(cell, "steps"),
            _sum(cell, "written"),
            _sum(cell, "computed"),
            f"{_sum(cell, 'turns') / talks:.2f}",
            f"{inflation:.2f}",
            f"{_mean(cell, 'seconds'):.2f} ({min(seconds):.2f} to {max(seconds):.2f})",
        ]
        lines.append(f"| {' | '.join(map(str, entries))} |")
    return "\n".join(lines)


def slow_tool_table(cells: Sequence[Cell]) -> str:
    """Seconds of a step with a slow tool, with and without running ahead."""
    lines = ["| prompts | arm | runs ahead, s (range) | waits for its tree, s (range) | saved |", "| --- " * 5 + "|"]
    for prompts in sorted({cell["prompts"] for cell in cells}):
        for arm in (INDEPENDENT, "b=2"):
            found = {cell["run_ahead"]: cell for cell in cells if (cell["prompts"], cell["arm"]) == (prompts, arm)}
            ahead, waits = _mean(found[True], "seconds"), _mean(found[False], "seconds")
            lines.append(
                f"| {prompts} | {arm} | {ahead:.2f} ({_range(found[True])}) | {waits:.2f} ({_range(found[False])}) | "
                f"{1 - ahead / waits:.1%} |"
            )
    return "\n".join(lines)


def page_tables(stored: dict[str, list[Cell]]) -> str:
    """All tables, as the page shows them."""
    parts = []
    for regime, words in (
        ("recheck", "Recheck: a talk ends at its last turn"),
        ("ends", "A talk ends by itself, with chance 0.2 a turn"),
    ):
        for prompts in (1, 16):
            parts += [
                f"**{words}; {prompts} {'prompt' if prompts == 1 else 'prompts'} a step.**",
                savings_table(stored["savings"], regime=regime, prompts=prompts),
            ]
    parts += [
        "**One tool in ten takes ten times as long** (2 s in the place of 0.2 s; depth 6, talks that end at their last "
        "turn).",
        slow_tool_table(stored["slow tool"]),
    ]
    return "\n\n".join(parts)


def _sum(cell: Cell, name: str) -> Any:
    return sum(step[name] for step in cell["steps"])


def _mean(cell: Cell, name: str) -> float:
    return fmean(step[name] for step in cell["steps"])


def _range(cell: Cell) -> str:
    seconds = [step["seconds"] for step in cell["steps"]]
    return f"{min(seconds):.2f} to {max(seconds):.2f}"
