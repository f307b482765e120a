"""Task, model, training, evaluation, report: ``python -m recipe.calculator [--tools] [OPTION=VALUE ...]``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from recipe.calculator.run import example
from treepo.commands.options import ExampleOverrides, ExampleSeed
from treepo.config import ConfigError
from treepo.processes import outlive_readers
from treepo.quickstart.run import console, run_example

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    overrides: ExampleOverrides = None,
    tools: Annotated[bool, typer.Option("--tools", help="the calculator as a tool of verl's")] = False,
    out: Annotated[Path, typer.Option(help="where the result folders are made")] = Path("outputs/calculator"),
    cache: Annotated[Path, typer.Option(help="where the task and the warm-started models are kept")] = Path(
        ".cache/calculator"
    ),
    seed: ExampleSeed = 0,
) -> None:
    """Makes a task and a tiny model, trains it on trees of turns to ask a calculator, evaluates it and writes a report.

    Minutes on two CPU cores. A second call starts at once. An evaluation calls no tools: with --tools the held-out
    accuracy after the last step takes its place.
    """
    try:
        raise typer.Exit(run_example(example(tools=tools), overrides or [], out=out, cache=cache, seed=seed))
    except ConfigError as error:
        console.print(f"error: {error}")
        sys.exit(2)


if __name__ == "__main__":
    outlive_readers()
    app()
