"""What is learned: word chains, and word chains behind a long beginning that decides nothing."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from treepo.config import ConfigError
from treepo.quickstart.settings import WarmStartSettings
from treepo.quickstart.task import TaskSettings

if TYPE_CHECKING:
    from treepo.quickstart.lessons import Lessons

_ROOT = Path(__file__).resolve().parents[2]
_RESULTS = _ROOT / "benchmarks/results/learning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task, its warm-started model, and how its trees are cut.

    Attributes:
        name: Names it on the command line.
        title: Stands before the headings of its tables; empty for the first task.
        warm_start: What decides task and model.
        lessons: Makes the lessons of the warm start.
        overrides: What all arms set in the preset because of the task.
        results: Where its finished runs are kept.
        in_process: Whether it is trained in one process, without the whole stack.
    """

    name: str
    title: str
    warm_start: WarmStartSettings
    lessons: "Callable[[WarmStartSettings], Lessons]"
    overrides: tuple[str, ...]
    results: Path
    in_process: bool = False

    @property
    def markers(self) -> tuple[str, str]:
        """The lines of the page between which its tables are written."""
        which = f" --task {self.name}" if self.name != WORDS.name else ""
        which += " --in-process" if self.in_process else ""
        return (
            f"<!-- results: written by `python -m benchmarks.learning report{which}` -->",
            f"<!-- end of results{which} -->",
        )


def _workings(settings: WarmStartSettings) -> "Lessons":
    from treepo.quickstart.lessons import Workings

    return Workings(settings)


def _remarks(settings: WarmStartSettings) -> "Lessons":
    from benchmarks.learning.remarks import RemarkedWorkings

    return RemarkedWorkings(settings)


# A pupil who slips on nearly every second carry, and never a chain that is over after two days: about a fifth is right.
WORDS = Task(
    name="words",
    title="",
    warm_start=WarmStartSettings(
        task=TaskSettings(held_out=256, fewest_steps=3, most_steps=5),
        slip_chance=0.45,
        target=0.22,
        band=(0.12, 0.32),
        response_length=120,
    ),
    lessons=_workings,
    overrides=(
        "data.max_response_length=120",
        # A day's line of the working is about 15 tokens.
        "treepo.segment_length=24",
        "treepo.max_depth=5",
    ),
    results=_RESULTS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemarkSettings(WarmStartSettings):
    """What decides the model of the task with long beginnings.

    Attributes:
        remarks: Sentences before the working; any of them will do, in any order.
    """

    version: ClassVar[int] = 1

    task: TaskSettings = field(default_factory=lambda: TaskSettings(held_out=256, fewest_steps=3, most_steps=5))
    slip_chance: float = 0.45
    target: float = 0.22
    band: tuple[float, float] = (0.12, 0.32)
    response_length: int = 200
    remarks: int = 5


LONG = Task(
    name="long",
    title="Long beginnings",
    warm_start=RemarkSettings(),
    lessons=_remarks,
    overrides=(
        "data.max_response_length=200",
        "treepo.segment_length=25",
        "treepo.max_depth=8",
        # Prompt and response.
        "actor_rollout_ref.rollout.max_model_len=320",
    ),
    results=_RESULTS / "long",
)

TASKS = {task.name: task for task in (WORDS, LONG)}

REMARKS = (
    "Let us see.",
    "This is about a stock.",
    "Every day has its line.",
    "Things come and things go.",
    "We write down what is left.",
    "Nothing is lost on the way.",
    "The last line has the answer.",
    "One day follows the other.",
    "We begin at the start.",
    "It is not hard at all.",
)


def draw_remarks(draws: random.Random, count: int) -> str:
    """Some remarks in some order, a line each."""
    return "".join(f"{remark}\n" for remark in draws.sample(REMARKS, count))


def find_task(name: str, *, in_process: bool = False) -> Task:
    """The task of this name.

    Args:
        name: Names it on the command line.
        in_process: Whether it is trained in one process; such runs have results and tables of their own.

    Raises:
        ConfigError: There is none.
    """
    if name not in TASKS:
        raise ConfigError(f"--task {name} is not a task; there are: {', '.join(TASKS)}")
    task = TASKS[name]
    if not in_process:
        return task
    title = f"{task.title}, in one process" if task.title else "In one process"
    return replace(task, title=title, results=task.results / "in_process", in_process=True)
