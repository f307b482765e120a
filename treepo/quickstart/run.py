"""The quickstart, or another example like it, from its options to its report: every stage, with its time."""

import hashlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig
from rich.console import Console

from treepo.config import ConfigError
from treepo.config.load import compose, tree_options
from treepo.config.policies import TOOL_AGENT

if TYPE_CHECKING:
    from treepo.quickstart.prepare import Prepared

EVALUATION_PRESET = "quickstart"
EVALUATION_FOLDER = "evaluation"
NOT_WITH_TOOLS = (
    "`treepo eval` calls no tools: the held-out accuracy after the last step, which verl's own loop measures with the "
    "tools, takes its place."
)

_FAILED, _INTERRUPTED = 1, 130
# verl's options of turns that an environment is read with.
_READ_BY_TALKS = (
    "max_assistant_turns",
    "max_user_turns",
    "max_tool_response_length",
    "tool_response_truncate_side",
)
_TREEPO = (sys.executable, "-m", "treepo")

# Without markup: overrides hold square brackets.
console = Console(highlight=False, soft_wrap=True, markup=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What is made, trained, evaluated and reported in one go.

    Attributes:
        preset: Of the training.
        prepare: Makes the task and the model in a folder, or finds them there; what it takes seconds to import is
            imported in it.
        config_dir: Where the preset lies; None for the project's own.
        overrides: Of the preset, before the user's.
        usual: How long preparation, training and evaluation take, in words.
    """

    preset: str
    prepare: "Callable[[Path], Prepared]"
    config_dir: Path | None = None
    overrides: tuple[str, ...] = ()
    usual: tuple[str, str, str]


def _prepare(folder: Path) -> "Prepared":
    from treepo.quickstart.prepare import prepare

    return prepare(folder, console=console)


QUICKSTART = Example(
    preset="cpu_quickstart",
    prepare=_prepare,
    usual=("2 to 3 minutes, at once when cached", "1 to 2 minutes of start-up, then 4 to 6 minutes", "1 to 2 minutes"),
)


def run_example(example: Example, overrides: Sequence[str], *, out: Path, cache: Path, seed: int) -> int:
    """Makes the task and the model, trains, evaluates and reports.

    Args:
        example: What to run.
        overrides: Overrides of the training's preset.
        out: Where the result folders are made.
        cache: Where the task and the warm-started model are kept.
        seed: Seed of data order and trees.

    Returns:
        The exit status: 0 done, 1 the training or the evaluation failed, 130 interrupted.

    Raises:
        ConfigError: An override is refused, or leaves the evaluation or the report without what it needs.
    """
    given = [*example.overrides, *overrides]
    config = check(example, given)
    # Only now: these take seconds to import, and a misspelt option should not wait for them.
    from treepo.quickstart.report import write_report
    from treepo.quickstart.training import TrainingError, run_training

    making, training, evaluating = example.usual
    evaluated = is_evaluated(config)
    last = 5 if evaluated else 4
    seconds: dict[str, float] = {}
    with _stage(f"1/{last} task and 2/{last} warm-started model", making, seconds):
        prepared = example.prepare(cache)
    # Another model or other options are another run: resuming would mix them.
    identity = "\n".join([prepared.model.path.name, *given])
    run_dir = out / f"seed{seed}-{hashlib.sha256(identity.encode()).hexdigest()[:6]}"
    command = [
        *training_command(example),
        *path_overrides(prepared, run_dir),
        *seed_overrides(seed),
        *given,
    ]
    shown = shlex.join(["python", *command[1:]])
    try:
        with _stage(f"3/{last} training", training, seconds):
            console.print(f"      {shown}")
            console.print(f"      everything it prints: {run_dir / 'train.log'}")
            run_training(command, run_dir / "train.log", console=console)
        if evaluated:
            with _stage(f"4/{last} evaluation", f"{evaluating}, at once when it is there", seconds):
                evaluation = evaluation_command(config, run_dir, prepared.task.held_out.resolve(), seed=seed)
                console.print(f"      {shlex.join(['python', *evaluation[1:]])}")
                run_training(evaluation, run_dir / "evaluation.log", console=console, what="evaluation")
    except TrainingError as error:
        console.print(f"error: {error}")
        return _FAILED
    except KeyboardInterrupt:
        console.print("interrupted; the same command resumes from the last checkpoint")
        return _INTERRUPTED
    with _stage(f"{last}/{last} report", "a few seconds", seconds):
        outcome = write_report(
            run_dir,
            run_dir,
            command=shown,
            seconds=seconds,
            evaluation=run_dir / EVALUATION_FOLDER if evaluated else None,
            why_none=None if evaluated else NOT_WITH_TOOLS,
        )
    console.print(f"result folder: {outcome.report.parent}")
    console.print(
        f"held-out accuracy: {outcome.accuracy_before:.1%} before, {outcome.accuracy_after:.1%} after training"
    )
    return 0


def training_command(example: Example) -> list[str]:
    """The training's command, without what differs between its runs."""
    folder = [] if example.config_dir is None else ["--config-dir", str(example.config_dir)]
    return [*_TREEPO, "train", *folder, "--preset", example.preset]


def path_overrides(prepared: "Prepared", run_dir: Path) -> list[str]:
    """What a run trains, and where it writes."""
    return [
        f"data.train_files=[{prepared.task.train.resolve()}]",
        f"data.val_files=[{prepared.task.held_out.resolve()}]",
        f"actor_rollout_ref.model.path={prepared.model.path.resolve()}",
        f"run_dir={run_dir}",
    ]


def seed_overrides(seed: int) -> list[str]:
    """Data order, trees and samples of a seed."""
    return [f"treepo.seed={seed}", f"data.seed={seed}", f"actor_rollout_ref.rollout.seed={seed}"]


def is_evaluated(config: DictConfig) -> bool:
    """Whether the trained model is evaluated, independently and under trees: tools are called in a training alone."""
    return config.actor_rollout_ref.rollout.agent.default_agent_loop != TOOL_AGENT


def evaluation_command(config: DictConfig, run_dir: Path, held_out: Path, *, seed: int) -> list[str]:
    """The command that evaluates the last checkpoint on the held-out problems.

    Args:
        config: The training's configuration, for lengths, segments and who answers.
        run_dir: The training's folder.
        held_out: The held-out problems.
        seed: Seed of the samples.
    """
    environment, multi_turn = config.treepo.environment, config.actor_rollout_ref.rollout.multi_turn
    talks = {f"treepo.environment.{key}": value for key, value in environment.items()}
    talks |= {f"actor_rollout_ref.rollout.multi_turn.{key}": multi_turn[key] for key in _READ_BY_TALKS}
    # What is null is so by default, and without a name nothing else is read.
    given = {} if environment.name is None else {key: value for key, value in talks.items() if value is not None}
    return [
        *(*_TREEPO, "eval", "--preset", EVALUATION_PRESET),
        f"evaluation.model={(run_dir / 'checkpoints').resolve()}",
        f"evaluation.benchmarks=[{held_out}]",
        f"run_dir={run_dir / EVALUATION_FOLDER}",
        f"evaluation.seed={seed}",
        f"evaluation.prompt_length={config.data.max_prompt_length}",
        f"evaluation.response_length={config.data.max_response_length}",
        f"treepo.segment_length={config.treepo.segment_length}",
        f"treepo.max_depth={config.treepo.max_depth}",
        *(f"{option}={value}" for option, value in given.items()),
    ]


def check(example: Example, overrides: Sequence[str]) -> DictConfig:
    """Composes the training's configuration, and refuses what the evaluation or the report could not work with.

    Args:
        example: What is run.
        overrides: All overrides of its preset.

    Raises:
        ConfigError: One line that names the option and the remedy.
    """
    config = compose(example.preset, overrides, config_dir=example.config_dir)
    tree_options(config)
    if any(override.startswith("run_dir=") for override in overrides):
        raise ConfigError("run_dir is refused here; choose the place of the result folders with --out")
    if "tensorboard" not in config.trainer.logger:
        raise ConfigError(
            f"trainer.logger={config.trainer.logger} is refused here: the report needs tensorboard among the loggers"
        )
    if not config.trainer.val_before_train or config.trainer.test_freq <= 0:
        raise ConfigError(
            "trainer.val_before_train=false and trainer.test_freq below 1 are refused here: the report needs the "
            "held-out accuracy before and after the training"
        )
    if is_evaluated(config) and config.trainer.save_freq <= 0:
        raise ConfigError("trainer.save_freq below 1 is refused here: the last checkpoint is evaluated")
    return config


@contextmanager
def _stage(name: str, usual: str, seconds: dict[str, float]) -> Iterator[None]:
    console.print(f"{name} (usually {usual})", style="bold")
    start = time.monotonic()
    yield
    seconds[name] = time.monotonic() - start
    console.print(f"      done in {seconds[name]:.0f} s")
