"""Prepares the quickstart: ``python -m treepo.quickstart --out FOLDER`` writes the task and warm-starts the model."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from treepo.quickstart.prepare import prepare

app = typer.Typer(add_completion=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="where the task and the model are kept")] = Path(".cache/quickstart"),
) -> None:
    """Writes the task and warm-starts the tiny model; what is there already is kept."""
    prepare(out, console=Console(highlight=False, soft_wrap=True, markup=False))


if __name__ == "__main__":
    app()
