"""Does it learn?

``python -m benchmarks.learning`` runs what is missing and reports; ``run``, ``report`` and ``arms`` do a part of it.
"""

import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.learning.arms import ARMS, GROUPS, PACKED, Sampling
from benchmarks.learning.results import claim, plan, result_path, run_missing
from benchmarks.learning.study import STEPS, choose, fingerprint
from benchmarks.learning.tasks import find_task
from treepo.config import ConfigError

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/learning.md"

console = Console(highlight=False, soft_wrap=True, markup=False)
app = typer.Typer(add_completion=False, help=__doc__)


@app.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    """Without a command: `run` with its defaults."""
    if context.invoked_subcommand is None:
        run()


@app.command()
def run(
    arms: Annotated[
        str, typer.Option(help="names with commas between; `main`, `credits`, `ablations`, `all` stand for several")
    ] = "main",
    seeds: Annotated[int, typer.Option(min=1, help="seeds 0 to this number less one")] = 5,
    steps: Annotated[int, typer.Option(help="training steps of a run")] = STEPS,
    task: Annotated[str, typer.Option(help="`words`, or `long` with beginnings that decide nothing")] = "words",
    in_process: Annotated[
        bool,
        typer.Option(
            "--in-process",
            help="each run in one process, without the whole stack; start as many of these as there are cores",
        ),
    ] = False,
    limit: Annotated[float, typer.Option(min=1, help="seconds that a run on the whole stack may take")] = 900.0,
    results: Annotated[Path | None, typer.Option(help="where finished runs are kept, a file each")] = None,
    page: Annotated[Path, typer.Option(help="the page that gets tables and plots")] = PAGE,
    cache: Annotated[Path, typer.Option(help="where task, model and the runs' logs are kept")] = Path(
        ".cache/learning"
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="list the runs that are missing and stop")] = False,
) -> None:
    """Makes the runs that are missing, one at a time, and reports; the same command resumes where it was stopped.

    Several commands share the runs; on the whole stack they would share the machine, and spoil each other's seconds.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        learned = find_task(task, in_process=in_process)
        chosen = choose(_names(arms, in_process=in_process))
        keys = plan({arm.name: fingerprint(arm, steps=steps, task=learned) for arm in chosen}, range(seeds))
    except ConfigError as error:
        console.print(f"error: {error}")
        raise typer.Exit(2) from error
    results = results or learned.results
    if dry_run:
        missing = [key for key in keys if not result_path(results, key).is_file()]
        console.print("\n".join([*(key.name for key in missing), f"{len(missing)} of {len(keys)} runs are missing"]))
        return
    # Only now: these take seconds to import.
    from benchmarks.learning.collect import TrainingRunner
    from benchmarks.learning.in_process import InProcessRunner
    from treepo.quickstart.prepare import prepare
    from treepo.quickstart.warm_start import WarmStartFailed

    try:
        cache = cache / learned.name
        with claim(cache / ".preparing", wait=True):
            prepared = prepare(cache, console=console, lessons=learned.lessons(learned.warm_start))
        runner = (
            InProcessRunner(learned, prepared=prepared, steps=steps)
            if in_process
            else TrainingRunner(learned, prepared=prepared, folder=cache / "runs", steps=steps, limit=limit)
        )
        failed = run_missing(keys, results, runner, tell=console.print)
    except KeyboardInterrupt:
        console.print("interrupted; the same command resumes the run that was cut off")
        raise typer.Exit(130) from None
    except WarmStartFailed as error:
        console.print(f"error: {error}")
        raise typer.Exit(1) from error
    if failed:
        console.print(f"error: {len(failed)} runs failed: {', '.join(key.name for key in failed)}")
    if len(failed) < len(keys):
        with claim(cache / ".reporting", wait=True):
            _report(results, page, task, in_process=in_process)
    if failed:
        raise typer.Exit(1)


@app.command()
def report(
    task: Annotated[str, typer.Option(help="`words` or `long`")] = "words",
    in_process: Annotated[bool, typer.Option("--in-process", help="the runs in one process each")] = False,
    results: Annotated[Path | None, typer.Option(help="where finished runs are kept")] = None,
    page: Annotated[Path, typer.Option(help="the page that gets tables and plots")] = PAGE,
) -> None:
    """Draws tables and plots anew from the results."""
    _report(results, page, task, in_process=in_process)


@app.command("arms")
def list_arms() -> None:
    """Lists the arms."""
    for name, arm in ARMS.items():
        against = f"; against {', '.join(arm.against)}" if arm.against else ""
        console.print(f"{name:24} {arm.group.value:9} {arm.says}{against}")


def _report(results: Path | None, page: Path, task: str, *, in_process: bool) -> None:
    from benchmarks.learning.show.report import write_report

    try:
        learned = find_task(task, in_process=in_process)
        write_report(results or learned.results, page, task=learned)
    except ValueError as error:
        console.print(f"error: {error}")
        raise typer.Exit(1) from error
    console.print(f"report: {page}")


def _names(arms: str, *, in_process: bool) -> list[str]:
    own = {name for name, arm in ARMS.items() if arm.sampling is Sampling.INDEPENDENT}
    groups = {**{group.value: names for group, names in GROUPS.items()}, "all": tuple(ARMS)}
    names = []
    for word in map(str.strip, arms.split(",")):
        if in_process and word in own:
            raise ConfigError(
                f"--arms {word} is refused with --in-process: it is verl's own trainer; {PACKED} samples alike"
            )
        found = groups.get(word, (word,))
        names += [name for name in found if not (in_process and name in own)]
    return list(dict.fromkeys(names))


if __name__ == "__main__":
    app()
