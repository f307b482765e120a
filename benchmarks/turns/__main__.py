"""``python -m benchmarks.turns``: calls, steps and time of trees of turns on a modelled server, no model needed."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.turns.arms import INDEPENDENT, VERL, Step, measure
from benchmarks.turns.model import Tool
from benchmarks.turns.table import STORED, page_tables

DEPTHS, LOADS, ARMS = (4, 5, 6), {1: 32, 16: 4}, (VERL, INDEPENDENT, "b=3", "b=2")
REGIMES = {"recheck": 0.0, "ends": 0.2}
SLOW = 0.1

console = Console(highlight=False, soft_wrap=True, markup=False)
app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="where the measurements are stored")] = STORED,
    quick: Annotated[bool, typer.Option("--quick", help="one step of everything")] = False,
) -> None:
    """Measures every arm at every depth and load, and prints the tables."""
    savings: list[dict[str, Any]] = []
    for regime, hazard in REGIMES.items():
        for prompts, steps in LOADS.items():
            for depth in DEPTHS:
                for arm in ARMS:
                    tool = Tool(hazard=hazard, slow=0.0)
                    found = [
                        measure(arm, prompts=prompts, depth=depth, tool=tool, seed=seed)
                        for seed in range(1 if quick else steps)
                    ]
                    cell = {"regime": regime, "prompts": prompts, "depth": depth, "arm": arm}
                    savings.append({**cell, "steps": _plain(found)})
    slow: list[dict[str, Any]] = []
    for prompts, steps in LOADS.items():
        for arm in (INDEPENDENT, "b=2"):
            for run_ahead in (True, False):
                tool = Tool(hazard=0.0, slow=SLOW)
                found = [
                    measure(arm, prompts=prompts, depth=DEPTHS[-1], tool=tool, seed=seed, run_ahead=run_ahead)
                    for seed in range(1 if quick else steps)
                ]
                slow.append({"prompts": prompts, "arm": arm, "run_ahead": run_ahead, "steps": _plain(found)})
    stored = {"savings": savings, "slow tool": slow}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(_lines(stored), encoding="utf-8")
    console.print(page_tables(stored))


def _lines(stored: dict[str, list[dict[str, Any]]]) -> str:
    """As JSON with a line per cell."""
    parts = (
        f" {json.dumps(name)}: [\n  " + ",\n  ".join(map(json.dumps, cells)) + "\n ]" for name, cells in stored.items()
    )
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _plain(steps: list[Step]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(step) for step in steps]


if __name__ == "__main__":
    app()
