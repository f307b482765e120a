"""The calculator's recipe trained on trees of turns and on independent talks, over several seeds.

Every arm has the recipe's settings but for what it names; a seed fixes the order of the problems. Held-out accuracy is
that of verl's own validation, talks by themselves with the same environment.
"""

import functools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

from omegaconf import DictConfig

from benchmarks.learning.collect import read_result, steps_of
from benchmarks.learning.process import ProcessFailed, run_bounded
from benchmarks.learning.results import RunFailed, RunKey, RunResult, load_newest, plan, run_missing
from benchmarks.learning.study import digest
from benchmarks.turns.table import RESULTS
from recipe.calculator.lessons import TalkSettings
from recipe.calculator.run import HERE, PRESET, example
from treepo.config import ConfigError
from treepo.config.load import compose
from treepo.quickstart.prepare import Prepared
from treepo.quickstart.report import accuracy_series, read_scalars
from treepo.quickstart.run import path_overrides, seed_overrides, training_command

TRAINED = RESULTS / "training"
ARMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "talks_grpo": (
        "independent talks, GRPO credit",
        ("treepo.environment.fork=none", "algorithm.adv_estimator=grpo"),
    ),
    "trees_treepo": ("trees, `treepo`", ()),
    "trees_grpo": ("trees, GRPO credit", ("algorithm.adv_estimator=grpo",)),
}
"""What each is, and what it sets besides what all of them share."""
# Raised by hand when a change of the code gives an arm another outcome: results of before are then left out.
_VERSION = 1
# Measured before the first step and after the last.
_SHARED = (
    "treepo.dump_trees=0",
    "trainer.test_freq=${trainer.total_training_steps}",
    "trainer.save_freq=-1",
    "trainer.resume_mode=disable",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkResult(RunResult):
    """What a run came to, its turns included; entries per training step.

    Attributes:
        turns: Turns per trajectory.
        calls: Turns that the model was asked for, per prompt.
        steps: Steps of the environment, per prompt.
    """

    turns: list[float]
    calls: list[float]
    steps: list[float]


class TalkRunner:
    """Makes one run: trains in a process of its own and reads what it logged.

    Args:
        prepared: Task and warm-started model.
        folder: Where the runs' own folders are made.
        limit: Seconds that a run may take.
    """

    def __init__(self, *, prepared: Prepared, folder: Path, limit: float) -> None:
        self._prepared = prepared
        self._folder = folder.resolve()
        self._limit = limit

    def __call__(self, key: RunKey) -> TalkResult:
        """Makes the run.

        Raises:
            RunFailed: The training failed, took too long, or logged too little.
        """
        folder = self._folder / key.name
        overrides = arm_overrides(key.arm)
        command = [
            *training_command(example(tools=False)),
            *path_overrides(self._prepared, folder),
            *seed_overrides(key.seed),
            *overrides,
        ]
        load_before, began = os.getloadavg()[0], time.time()
        try:
            wall = run_bounded(command, folder / "train.log", limit=self._limit)
            return read_talks(folder / "tensorboard", key=key, began=began, wall=wall, load_before=load_before)
        except (ProcessFailed, OSError, ValueError) as error:
            raise RunFailed(str(error)) from error


def read_talks(logs: Path, *, key: RunKey, began: float, wall: float, load_before: float) -> TalkResult:
    """Reads a finished training's logs, see :func:`benchmarks.learning.collect.read_result`.

    Raises:
        FileNotFoundError: There are no logs.
        ValueError: A step is missing, or the held-out accuracy.
    """
    scalars, config = read_scalars(logs), _composed(key.arm)
    steps = config.trainer.total_training_steps
    read = read_result(
        logs,
        key=key,
        study=fingerprint(None),
        steps=steps,
        overrides=arm_overrides(key.arm),
        held_out_samples=TalkSettings().task.held_out * config.actor_rollout_ref.rollout.val_kwargs.n,
        accuracy=accuracy_series(scalars),
        began=began,
        wall=wall,
        load_before=load_before,
    )

    def per_step(name: str) -> list[float]:
        return [round(value, 3) for value in steps_of(scalars, name, steps)]

    return TalkResult(
        **asdict(read),
        turns=per_step("treepo/turns/per_trajectory/mean"),
        calls=per_step("treepo/turns/calls_per_prompt"),
        steps=per_step("treepo/turns/steps_per_prompt"),
    )


def choose(names: str) -> list[str]:
    """The arms of these names, with commas between; ``all`` stands for all.

    Raises:
        ConfigError: One of them is none.
    """
    chosen = list(ARMS) if names == "all" else names.split(",")
    for name in chosen:
        if name not in ARMS:
            raise ConfigError(f"--arms {name} is not an arm; there are: {', '.join(ARMS)}")
    return chosen


def arm_overrides(arm: str) -> list[str]:
    """What an arm sets in the recipe's preset."""
    return [*_SHARED, *ARMS[arm][1]]


@functools.cache
def fingerprint(arm: str | None) -> str:
    """Names everything that decides an arm's outcome but the seed; without an arm, what all of them share."""
    return digest(_composed(arm), model=TalkSettings().key, version=_VERSION)


@cache
def _composed(arm: str | None) -> DictConfig:
    return compose(PRESET, _SHARED if arm is None else arm_overrides(arm), config_dir=HERE)


def train_missing(
    arms: Sequence[str],
    seeds: Sequence[int],
    prepared: Prepared,
    *,
    results: Path,
    cache: Path,
    limit: float,
    tell: Callable[[str], None],
) -> list[RunKey]:
    """Makes the runs that are missing, one at a time.

    Args:
        arms: Their names.
        seeds: Of every arm.
        prepared: Task and warm-started model.
        results: Where finished runs are kept, a file each.
        cache: Where the runs' logs are kept.
        limit: Seconds that a run may take.
        tell: Told what happens.

    Returns:
        The runs that failed.
    """
    keys = plan({arm: fingerprint(arm) for arm in arms}, seeds)
    runner = TalkRunner(prepared=prepared, folder=cache / "runs", limit=limit)
    return run_missing(keys, results, runner, tell=tell)


def training_table(folder: Path = TRAINED) -> str:
    """The stored runs: accuracies by seed, and what a run took.

    Raises:
        ValueError: There are none.
    """
    results, _ = load_newest(folder, TalkResult)
    if not results:
        raise ValueError(f"no results in {folder}; make them with `python -m benchmarks.turns training`")
    lines = [
        "| arm | seed | before | after the last step | turns per trajectory, first and last step | turns asked for per "
        "prompt | steps of the environment per prompt | tokens written, thousand |",
        "| --- " * 8 + "|",
    ]
    for arm, (says, _) in ARMS.items():
        runs = [run for run in results if run.arm == arm]
        lines += [_row(says, str(run.seed), [run]) for run in runs]
        if len(runs) > 1:
            lines.append(_row(f"**{says}**", "mean", runs))
    return "\n".join(lines)


def _row(arm: str, seed: str, runs: Sequence[TalkResult]) -> str:
    entries = [
        arm,
        seed,
        f"{fmean(run.accuracy[0] for run in runs):.1%}",
        f"{fmean(run.accuracy[-1] for run in runs):.1%}",
        f"{fmean(run.turns[0] for run in runs):.2f}, {fmean(run.turns[-1] for run in runs):.2f}",
        f"{fmean(fmean(run.calls) for run in runs):.1f}",
        f"{fmean(fmean(run.steps) for run in runs):.1f}",
        f"{fmean(sum(run.tokens_generated) for run in runs) / 1000:.0f}",
    ]
    return f"| {' | '.join(entries)} |"
