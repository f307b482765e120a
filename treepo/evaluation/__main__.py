"""Reports of evaluation runs: ``python -m treepo.evaluation report RUN``, ``... compare A B``."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from treepo.config import ConfigError
from treepo.evaluation.count.compare import compare_runs
from treepo.evaluation.keep.export import write_parquet
from treepo.evaluation.keep.inspect_log import write_inspect_logs
from treepo.evaluation.keep.store import StoredRun
from treepo.evaluation.show.comparison_tables import comparison_tables
from treepo.evaluation.show.console import show_table
from treepo.evaluation.show.page_data import CHARACTERS
from treepo.evaluation.show.report import write_comparison, write_report
from treepo.evaluation.show.tables import run_tables

app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True, pretty_exceptions_enable=False)
console = Console(highlight=False, markup=False)

Run = Annotated[Path, typer.Argument(help="folder of a run")]


@app.command()
def report(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="where to write; by default the run's folder")] = None,
    page_characters: Annotated[int, typer.Option(min=1, help="most characters of responses in the page")] = CHARACTERS,
    parquet: Annotated[bool, typer.Option(help="whether to write the samples as parquet too")] = True,
) -> None:
    """Writes report.md, report.html and results.json, and the samples as parquet."""
    stored = _stored(run)
    try:
        written = write_report(stored, out or run, page_characters=page_characters)
    except ValueError as error:
        raise _refusal(error) from error
    for table in run_tables(written.summary, written.arms, ())[:2]:
        show_table(console, table)
    paths = [written.markdown, written.page, written.results, *(write_parquet(stored) if parquet else [])]
    for path in paths:
        console.print(path, soft_wrap=True)


@app.command()
def export(
    run: Run,
    out: Annotated[Path | None, typer.Option(help="where to write; by default RUN/inspect")] = None,
) -> None:
    """Writes the samples as logs of Inspect, one per benchmark and sampling; needs inspect_ai."""
    try:
        paths = write_inspect_logs(_stored(run), out or run / "inspect")
    except ValueError as error:
        raise _refusal(error) from error
    for path in paths:
        console.print(path, soft_wrap=True)


@app.command()
def compare(
    first: Run,
    second: Run,
    sampling: Annotated[str | None, typer.Option(help="which sampling, where a run has several")] = None,
    second_sampling: Annotated[str | None, typer.Option(help="that of the second run, where it is another")] = None,
    out: Annotated[Path | None, typer.Option(help="where to write comparison.md, .html and .json")] = None,
) -> None:
    """Compares two runs: paired bootstrap of the difference, and the questions that changed."""
    try:
        comparison = compare_runs(_stored(first), _stored(second), (sampling, second_sampling or sampling))
    except ValueError as error:
        raise _refusal(error) from error
    for table in comparison_tables(comparison):
        show_table(console, table)
    if out is not None:
        for path in write_comparison(comparison, out):
            console.print(path, soft_wrap=True)


def _stored(folder: Path) -> StoredRun:
    try:
        return StoredRun(folder)
    except ConfigError as error:
        raise _refusal(error) from error


def _refusal(error: ValueError) -> typer.Exit:
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"error: {error}")
    return typer.Exit(1)


if __name__ == "__main__":
    app()
