"""``python -m treepo.datasets``: brings training sets and benchmarks into a folder as parquet in verl's layout."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer.core import TyperGroup

from treepo.datasets.errors import DataError, OfflineError
from treepo.datasets.hub import HubSource
from treepo.datasets.manifest import MANIFEST, verify
from treepo.datasets.overlap import Overlap
from treepo.datasets.prepare import Options, Outcome, Report, fetch
from treepo.datasets.prepare import prepare as prepare_sets
from treepo.datasets.source import FolderSource
from treepo.datasets.spec import COMMIT, SetSpec, catalogue, choose, hint


class _PreparesByDefault(TyperGroup):
    """Takes ``prepare`` where no command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named else ["prepare", *args])


app = typer.Typer(
    cls=_PreparesByDefault,
    add_completion=False,
    help="Training sets and benchmarks as parquet in verl's layout; without a command it prepares.",
    rich_markup_mode=None,
)

_TABLE_WIDTH = 132

Names = Annotated[list[str] | None, typer.Argument(metavar="[SET|GROUP]...", help="sets or groups; none means all")]
Output = Annotated[Path, typer.Option(help="the data folder")]
Revisions = Annotated[
    list[str] | None, typer.Option("--revision", metavar="SET=HASH", help="another revision of a set; repeatable")
]


def _console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except DataError as error:
        _fail([error])


def _fail(problems: Sequence[DataError | str]) -> None:
    console = _console(stderr=True)
    for problem in problems:
        console.print(f"error: {problem}")
    raise typer.Exit(1)


@contextmanager
def _progress(console: Console, sets: int) -> Iterator[tuple[Progress, Report]]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=sets)

        def report(name: str, stage: str) -> None:
            progress.update(task, description=f"{name}: {stage}")

        yield progress, report


@app.command("list")
def list_sets(
    as_json: Annotated[bool, typer.Option("--json", help="as JSON, with everything a set declares")] = False,
) -> None:
    """Lists the sets."""
    with _one_line_errors():
        sets = catalogue()
    console = _console()
    if as_json:
        console.print(json.dumps([spec.model_dump(mode="json") for spec in sets.values()], indent=2))
        return
    table = Table("set", "group", "year", "rows", "licence", "repository", "revision", box=None, pad_edge=False)
    for spec in sets.values():
        rows = "" if spec.expected_rows is None else str(spec.expected_rows)
        year = "" if spec.year is None else str(spec.year)
        table.add_row(spec.name, spec.group, year, rows, spec.licence, spec.repository, _short(spec.revision))
    # A pipe has no width of its own.
    console.width = max(console.width, _TABLE_WIDTH)
    console.print(table)


@app.command("prepare")
def prepare(
    names: Names = None,
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="source files, for machines without internet")
    ] = None,
    output: Output = Path("data"),
    force: Annotated[bool, typer.Option("--force", help="prepares also what is up to date")] = False,
    revision: Revisions = None,
    overlap: Annotated[
        Overlap, typer.Option(help="training rows that are in a benchmark: drop, keep and count, or do not look")
    ] = Overlap.DROP,
    allow_row_count: Annotated[
        bool, typer.Option("--allow-row-count", help="takes another number of rows than expected")
    ] = False,
) -> None:
    """Prepares sets; what is there and agrees with the manifest is kept."""
    with _one_line_errors():
        sets = catalogue()
        chosen = choose(names or [], sets)
        if folder is not None and not folder.is_dir():
            raise DataError(f"--from {folder} is no folder; see docs/data.md")
        options = Options(
            output=output,
            force=force,
            revisions=_revisions(revision or [], sets),
            overlap=overlap,
            allow_row_count=allow_row_count,
        )
        source = HubSource() if folder is None else FolderSource(folder=folder)
        console = _console()
        errors: list[DataError] = []
        with _progress(console, len(chosen)) as (progress, report):
            for outcome in prepare_sets(chosen, sets, source, options, report):
                progress.advance(progress.task_ids[0])
                if outcome.error is not None:
                    errors.append(outcome.error)
                else:
                    console.print(_summary(outcome, output))
    if errors:
        _fail(errors)
    console.print(f"{output / MANIFEST}: sources, checksums, licences and row counts")


@app.command("download")
def download(
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="where to")],
    names: Names = None,
    revision: Revisions = None,
) -> None:
    """Downloads source files alone, for `prepare --from DIR` on a machine without internet."""
    with _one_line_errors():
        sets = catalogue()
        chosen = choose(names or [], sets)
        revisions = _revisions(revision or [], sets)
        console = _console()
        errors: list[DataError] = []
        with _progress(console, len(chosen)) as (progress, report):
            for spec in chosen:
                try:
                    commit, _ = fetch(spec, revisions.get(spec.name, spec.revision), HubSource(folder=to), report)
                    console.print(f"{spec.name}: {to / spec.repository} at {_short(commit)}")
                except DataError as error:
                    errors.append(error)
                    if isinstance(error, OfflineError):
                        break
                progress.advance(progress.task_ids[0])
    if errors:
        _fail(errors)


@app.command("verify")
def verify_folder(output: Output = Path("data")) -> None:
    """Holds a prepared folder to its manifest."""
    with _one_line_errors():
        problems = verify(output)
    if problems:
        _fail(problems)
    _console().print(f"{output} agrees with its manifest")


def _revisions(given: Sequence[str], sets: dict[str, SetSpec]) -> dict[str, str]:
    revisions = {}
    for text in given:
        name, _, revision = text.partition("=")
        if not revision:
            raise DataError(f"--revision {text} should be SET=HASH")
        if name not in sets:
            raise DataError(f"--revision {text}: no set is called {name}; {hint(name, list(sets))}")
        revisions[name] = revision
    return revisions


def _summary(outcome: Outcome, output: Path) -> str:
    entry = outcome.entry
    assert entry is not None
    out = ", ".join(f"{count} {reason}" for reason, count in entry.dropped.items())
    state = f"{output / entry.output.path}" if outcome.written else "up to date"
    return f"{outcome.name}: {state}, {entry.rows_written} rows at {_short(entry.revision)}" + (
        f"; left out: {out}" if out else ""
    )


def _short(revision: str | None) -> str:
    if revision is None:
        return "an unknown revision"
    return revision[:7] if COMMIT.fullmatch(revision) else revision


if __name__ == "__main__":
    app(prog_name="python -m treepo.datasets")
