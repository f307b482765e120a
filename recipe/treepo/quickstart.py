"""The main job on a laptop: task, model, training, report. ``bash scripts/quickstart.sh`` sets up and runs it.

``python -m recipe.treepo.quickstart --out outputs/quickstart [treepo.width=8 ...]``
"""

import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Annotated

import typer
from rich.console import Console

from treepo.quickstart.report import write_report

_STEP = re.compile(r"\bstep:(?P<step>\d+) - (?P<metrics>.*)")
_METRIC = r"(?:^| - ){name}:(?:np\.float\d+\()?(?P<value>-?[\d.e+-]+)"
_SHOWN = (
    ("held-out accuracy", r"val-core/[^ ]+/acc/mean@\d+", ".1%"),
    ("reward", "critic/score/mean", "+.3f"),
    ("generated/in trajectories", "treepo/tokens/sharing_ratio", ".3f"),
    ("seconds", "timing_s/step", ".1f"),
)
_HEARTBEAT_SECONDS = 10.0
_STOP_SECONDS = 60.0
_LAST_LINES = 30

# Without markup: overrides hold square brackets.
console = Console(highlight=False, soft_wrap=True, markup=False)
app = typer.Typer(add_completion=False)


@app.command()
def main(
    overrides: Annotated[list[str] | None, typer.Argument(help="option=value, handed to the training")] = None,
    out: Annotated[Path, typer.Option(help="the result folder")] = Path("outputs/quickstart"),
    cache: Annotated[Path, typer.Option(help="where the task and the warm-started model are kept")] = Path(
        ".cache/quickstart"
    ),
    seed: Annotated[int, typer.Option(min=0, help="seed of the training: data order and trees")] = 0,
) -> None:
    """Makes a task and a tiny model, trains it with TreePO, evaluates it, and shows what came out."""
    from treepo.quickstart.prepare import prepare

    seconds: dict[str, float] = {}
    with _stage("1/4 task and 2/4 warm-started model", "2 minutes, at once when cached", seconds):
        prepared = prepare(cache, console=console)
    run_dir = out / f"seed{seed}"
    command = [
        *(sys.executable, "-m", "recipe.treepo.main_treepo", "--config-name", "cpu_quickstart"),
        f"data.train_files=[{prepared.task.train.resolve()}]",
        f"data.val_files=[{prepared.task.held_out.resolve()}]",
        f"actor_rollout_ref.model.path={prepared.model.path.resolve()}",
        f"run_dir={run_dir}",
        f"treepo.seed={seed}",
        f"data.seed={seed}",
        f"actor_rollout_ref.rollout.seed={seed}",
        *(overrides or []),
    ]
    shown = shlex.join(["python", *command[1:]])
    with _stage("3/4 training", "1 to 2 minutes of start-up, then 5 to 7 minutes", seconds):
        console.print(f"      {shown}")
        _train(command, run_dir)
    with _stage("4/4 report", "a few seconds", seconds):
        outcome = write_report(run_dir, run_dir, command=shown, seconds=seconds)
    console.print(f"result folder: {outcome.report.parent}")
    console.print(
        f"held-out accuracy: {outcome.accuracy_before:.1%} before, {outcome.accuracy_after:.1%} after training"
    )


@contextmanager
def _stage(name: str, usual: str, seconds: dict[str, float]) -> Iterator[None]:
    console.print(f"{name} (usually {usual})", style="bold")
    start = time.monotonic()
    yield
    seconds[name] = time.monotonic() - start
    console.print(f"      done in {seconds[name]:.0f} s")


def _train(command: list[str], run_dir: Path) -> None:
    """Runs the training in a process of its own; everything it prints goes to a file, its steps to the screen."""
    run_dir.mkdir(parents=True, exist_ok=True)
    log_path = run_dir / "train.log"
    console.print(f"      everything it prints: {log_path}")
    with log_path.open("a") as log:
        # Its own session, so that Ctrl-C reaches it once, through this process.
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        assert process.stdout is not None
        try:
            last = _follow(process.stdout, log)
            status = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=_STOP_SECONDS)
            console.print("interrupted; the same command goes on from the last checkpoint")
            raise typer.Exit(130) from None
        finally:
            if process.poll() is None:
                process.kill()
    if status != 0:
        console.print("".join(last))
        console.print(f"error: training ended with status {status}; everything it printed: {log_path}")
        raise typer.Exit(status)


def _follow(output: IO[str], log: IO[str]) -> list[str]:
    """Copies the training's output to its log and shows steps, and that time passes; returns the last lines."""
    lines: Queue[str | None] = Queue()

    def read() -> None:
        for line in output:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    last: deque[str] = deque(maxlen=_LAST_LINES)
    start = shown = time.monotonic()
    while True:
        try:
            line = lines.get(timeout=1.0)
        except Empty:
            line = ""
        if line is None:
            return list(last)
        if line:
            log.write(line)
            log.flush()
            last.append(line)
        step = step_line(line)
        now = time.monotonic()
        if step is not None:
            console.print(f"      {step}")
            shown = now
        elif now - shown >= _HEARTBEAT_SECONDS:
            console.print(f"      ... {now - start:.0f} s")
            shown = now


def step_line(line: str) -> str | None:
    """A step of verl's console logger, in short; None for any other line."""
    found = _STEP.search(line)
    if found is None:
        return None
    parts = [f"step {found['step']}"]
    for label, name, form in _SHOWN:
        value = re.search(_METRIC.format(name=name), found["metrics"])
        if value is not None:
            parts.append(f"{label} {float(value['value']):{form}}")
    return "  ".join(parts)


if __name__ == "__main__":
    app()
