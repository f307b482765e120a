"""Task and warm-started model, made where they are missing."""

import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from treepo.quickstart.lessons import Lessons, Workings
from treepo.quickstart.settings import WarmStartSettings
from treepo.quickstart.task import TaskFiles, write_task
from treepo.quickstart.warm_start import WarmStart, warm_start

_LINE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What the training starts from.

    Attributes:
        task: The written task.
        model: The warm-started model.
    """

    task: TaskFiles
    model: WarmStart


def prepare(folder: Path, *, console: Console, lessons: Lessons | None = None) -> Prepared:
    """Writes the task and warm-starts the model, or finds it.

    Args:
        folder: Where both are kept.
        console: Told what happens, and every few seconds how far it is.
        lessons: What to make, and of what; None for the quickstart's own.

    Raises:
        WarmStartFailed: The warm start did not come into its band of accuracies.
    """
    lessons = lessons or Workings(WarmStartSettings())
    settings = lessons.settings
    task = write_task(folder / "task", settings.task)
    console.print(f"      task: {settings.task.train} problems to train on, {settings.task.held_out} held out")
    shown = time.monotonic()
    accuracy = 0.0

    def progress(step: int, loss: float, measured: float | None) -> None:
        nonlocal shown, accuracy
        accuracy = accuracy if measured is None else measured
        if time.monotonic() - shown >= _LINE_SECONDS:
            shown = time.monotonic()
            console.print(f"      warm start: step {step}  loss {loss:.3f}  accuracy {accuracy:.1%}")

    model = warm_start(folder, lessons, progress=progress)
    _point_to(folder / "model", model.path)
    console.print(
        f"      model: {model.path}, held-out accuracy {model.accuracy:.1%} sampled, {model.greedy_accuracy:.1%} greedy"
        f" ({model.steps} steps, {model.seconds:.0f} s)"
    )
    return Prepared(task=task, model=model)


def _point_to(link: Path, target: Path) -> None:
    """Gives the model the name that the preset ``cpu_quickstart`` knows."""
    new = link.with_name(f"{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target.name)
    new.replace(link)
