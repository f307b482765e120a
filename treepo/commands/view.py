"""``treepo view``: the trees of a run as a page."""

import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from treepo.config import ConfigError
from treepo.evaluation import StoredRun
from treepo.evaluation.show.trees import shown_trees
from treepo.viewer import DumpError, ShownTree, dump_files, read_records, shown_tree, write_page

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    run: Annotated[Path, typer.Argument(help="run_dir of a training or an evaluation, or a file of dumped trees")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="a folder, or one file ending in .html; RUN/view or FILE.html unless set"),
    ] = None,
    step: Annotated[int | None, typer.Option(help="only the trees of this training step")] = None,
    prompt: Annotated[str | None, typer.Option(help="only the trees with this uid or question's id")] = None,
    show: Annotated[bool, typer.Option("--open", help="open the page in a browser")] = False,
) -> None:
    """Writes the trees of a run as a page that needs nothing but a browser."""
    try:
        written = write_page(
            _chosen(_source(run, step), prompt),
            out or (run.with_suffix(".html") if run.is_file() else run / "view"),
            title=run.resolve().name,
        )
    except DumpError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{error.filename or run}: {error.strerror or error}") from error
    typer.echo(f"{written.trees} trees of {written.groups} groups, {written.size / 1e6:.1f} MB: {written.page}")
    if show and not webbrowser.open(written.page.resolve().as_uri()):
        typer.echo("no browser opens here; copy the page to a machine that has one", err=True)


def _source(run: Path, step: int | None) -> Iterator[ShownTree]:
    """The trees of whatever the path names, looked at before anything is written."""
    if not run.exists():
        raise ConfigError(f"{run} does not exist; name a run's run_dir, or a file of dumped trees")
    if run.is_file():
        return (shown_tree(record) for record in read_records(run) if step in (None, record.step))
    if (run / "run.json").is_file():
        if step is not None:
            raise ConfigError(f"--step {step}: {run} is an evaluation, which has no steps")
        return shown_trees(StoredRun(run))
    files = dump_files(run)
    if step is not None and step not in files:
        raise ConfigError(f"--step {step}: {run} holds trees of the steps {', '.join(map(str, files))}")
    chosen = files.values() if step is None else [files[step]]
    return (shown_tree(record) for path in chosen for record in read_records(path))


def _chosen(trees: Iterator[ShownTree], prompt: str | None) -> Iterator[ShownTree]:
    found = False
    for tree in trees:
        if prompt is None or tree.uid == prompt:
            found = True
            yield tree
    if not found:
        raise ConfigError("there is no tree" if prompt is None else f"--prompt {prompt}: no tree has this prompt")
