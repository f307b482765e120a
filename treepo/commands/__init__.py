"""The command ``treepo``: one file per command, imported only when that command is run."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from treepo import __version__
from treepo.config import ConfigError
from treepo.processes import outlive_readers

COMMANDS = {
    "quickstart": "A task, a tiny model, its training and evaluation on a laptop.",
    "data": "Training sets and benchmarks as parquet.",
    "check": "The dry run: configuration, memory, and what is refused.",
    "train": "A training, in a Ray cluster of its own or one that runs.",
    "eval": "An evaluation, in a Ray cluster of its own or one that runs.",
    "launch": "A training or an evaluation on one node or many.",
    "report": "The report of an evaluation, written again.",
    "compare": "Two evaluations against each other.",
    "export": "The samples of an evaluation as logs of Inspect.",
    "view": "The trees of a run as a page.",
}
"""Every command with its line in the list; each is the file of that name."""


class _Commands(TyperGroup):
    """Knows its commands by name and line, and imports the file of the one that is run."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None:
            command = typer.main.get_command(import_module(f"treepo.commands.{name}").app)
        return name, command, rest


app = typer.Typer(cls=_Commands, rich_markup_mode=None, invoke_without_command=True)
for _name, _line in COMMANDS.items():
    app.command(_name, help=_line)(lambda: None)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"treepo {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and stop")
    ] = False,
) -> None:
    """TreePO: tree-structured policy optimisation for language models, on verl.

    Options of TreePO and verl are plain arguments, as Hydra writes them: treepo train --preset cpu_quickstart
    treepo.width=8. Relative paths count from the folder where you are.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: The command line, without the program's name; None for the process's own.

    Returns:
        The exit status: 0 done (or nothing left to do), 1 failed, 2 refused before anything started, 130 interrupted.
        A launched job's own status where that is another.
    """
    try:
        status = app(args=arguments, prog_name="treepo", standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        see = f"; see {context.command_path} --help" if context is not None else ""
        sys.stderr.write(f"error: {error.format_message().rstrip('.')}{see}\n")
        return error.exit_code
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return status or 0


def run() -> NoReturn:
    """Runs the process's command line, and ends the process."""
    # As for `python -m`, and in Ray's workers: modules of the folder where one stands can be named in options.
    if not sys.flags.safe_path and (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    outlive_readers()
    sys.exit(main())
