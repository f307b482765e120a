"""``treepo quickstart``: task, model, training, evaluation, report on a laptop."""

from pathlib import Path
from typing import Annotated

import typer

from treepo.commands.options import ExampleOverrides, ExampleSeed

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def quickstart(
    overrides: ExampleOverrides = None,
    out: Annotated[Path, typer.Option(help="where the result folders are made")] = Path("outputs/quickstart"),
    cache: Annotated[Path, typer.Option(help="where the task and the warm-started model are kept")] = Path(
        ".cache/quickstart"
    ),
    seed: ExampleSeed = 0,
) -> int:
    """Makes a task and a tiny model, trains it with TreePO, evaluates it, and shows what came out.

    Minutes on two CPU cores. A second call starts at once.
    """
    from treepo.quickstart.run import QUICKSTART, run_example

    return run_example(QUICKSTART, overrides or [], out=out, cache=cache, seed=seed)
