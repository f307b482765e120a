"""Draws dumped trees: ``python -m treepo.viewer FILE.jsonl -o tree.html``."""

from pathlib import Path
from typing import Annotated

import typer

from treepo.viewer.load import DumpError, read_records
from treepo.viewer.page import render_page
from treepo.viewer.schema import TreeRecord

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    file: Annotated[Path, typer.Argument(help="trees as the training dumps them, one per line")],
    out: Annotated[Path, typer.Option("--out", "-o", help="the page to write")],
    step: Annotated[int | None, typer.Option(help="only the trees of this training step")] = None,
    prompt: Annotated[str | None, typer.Option(help="only the trees of the prompt with this uid")] = None,
    limit: Annotated[int, typer.Option(min=1, help="most trees on the page")] = 50,
) -> None:
    """Draws trees as one page that needs nothing but a browser."""
    chosen: list[TreeRecord] = []
    left_out = 0
    try:
        for record in read_records(file):
            if step not in (None, record.step) or prompt not in (None, record.prompt.uid):
                continue
            if len(chosen) < limit:
                chosen.append(record)
            else:
                left_out += 1
        if not chosen:
            raise DumpError(
                f"{file}: no tree with this step and prompt" if step is not None or prompt else f"{file}: no tree"
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(render_page(chosen, title=file.name), encoding="utf-8")
    except (DumpError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{len(chosen)} trees in {out}")
    if left_out:
        typer.echo(f"{left_out} more are left out: choose with --step and --prompt, or raise --limit", err=True)


if __name__ == "__main__":
    app()
