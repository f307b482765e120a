"""``treepo check``: what a launch would run, with the memory it expects, and whether it would be refused."""

import functools
import inspect
from collections.abc import Callable

import typer

from treepo.commands.launch import launch_evaluation, launch_training

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Checks a training or an evaluation and prints the memory it expects; starts nothing.",
)

_ONLY_LAUNCHED = ("dry_run", "join_limit", "lost_limit", "stop_limit")


def _checking(launch: Callable[..., int], kind: str) -> Callable[..., int]:
    """The dry run of a launch: its options but those that only matter once something starts."""

    @functools.wraps(launch)
    def check(**given: object) -> int:
        return launch(**given, dry_run=True)

    signature = inspect.signature(launch)
    kept = [option for name, option in signature.parameters.items() if name not in _ONLY_LAUNCHED]
    check.__signature__ = signature.replace(parameters=kept)  # pyright: ignore[reportAttributeAccessIssue]
    check.__doc__ = f"""Prints the configuration and expected memory of {kind}, and checks all that {kind} would check.

    The same as a dry run of treepo launch. The exit status is 2 where it would be refused.
    """
    return check


app.command("train")(_checking(launch_training, "a training"))
app.command("eval")(_checking(launch_evaluation, "an evaluation"))
