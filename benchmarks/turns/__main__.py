"""What trees of turns save.

``python -m benchmarks.turns`` counts calls, steps and time on a modelled server, no model needed; ``python -m
benchmarks.turns training`` trains the calculator's recipe over several seeds.
"""

import dataclasses
import json
import signal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.turns.arms import INDEPENDENT, VERL, Step, measure
from benchmarks.turns.model import Tool
from benchmarks.turns.table import RESULTS, STORED, page_tables
from treepo.config import ConfigError

DEPTHS, LOADS, ARMS = (4, 5, 6), {1: 32, 16: 4}, (VERL, INDEPENDENT, "b=3", "b=2")
REGIMES = {"recheck": 0.0, "ends": 0.2}
SLOW = 0.1

console = Console(highlight=False, soft_wrap=True, markup=False)
app = typer.Typer(add_completion=False, help=__doc__)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="where the measurements are stored")] = STORED,
    quick: Annotated[bool, typer.Option("--quick", help="one step of everything")] = False,
) -> None:
    """Without a command: measures every arm at every depth and load, and prints the tables."""
    if context.invoked_subcommand is not None:
        return
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


@app.command()
def training(
    seeds: Annotated[int, typer.Option(min=1, help="seeds 0 to this number less one")] = 3,
    arms: Annotated[str, typer.Option(help="names with commas between; `all` stands for all")] = "all",
    results: Annotated[Path, typer.Option(help="where finished runs are kept, a file each")] = RESULTS / "training",
    cache: Annotated[Path, typer.Option(help="where task, model and the runs' logs are kept")] = Path(
        ".cache/calculator"
    ),
    limit: Annotated[float, typer.Option(min=1, help="seconds that a run may take")] = 900.0,
) -> None:
    """Trains what is missing, one run at a time, and prints the table; the same command resumes where it was ended."""
    # Only now: these take seconds to import.
    from benchmarks.turns.training import choose, train_missing, training_table
    from recipe.calculator.run import example
    from treepo.quickstart.warm_start import WarmStartFailed

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        chosen = choose(arms)
    except ConfigError as error:
        console.print(f"error: {error}")
        raise typer.Exit(2) from error
    try:
        prepared = example(tools=False).prepare(cache)
        failed = train_missing(
            chosen, range(seeds), prepared, results=results, cache=cache, limit=limit, tell=console.print
        )
    except KeyboardInterrupt:
        console.print("interrupted; the same command resumes with the run that was cut off")
        raise typer.Exit(130) from None
    except WarmStartFailed as error:
        console.print(f"error: {error}")
        raise typer.Exit(1) from error
    if len(failed) < len(chosen) * seeds:
        console.print(training_table(results))
    if failed:
        console.print(f"error: {len(failed)} runs failed: {', '.join(key.name for key in failed)}")
        raise typer.Exit(1)


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
