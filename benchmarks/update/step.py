"""Whole training steps: verl alone with independent samples, trees, and trees with packing, on the same task.

The arms, the task and the warm-started model are those of `benchmarks.learning`; trainings are short and not evaluated.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from rich.console import Console

from benchmarks.learning.arms import ARMS
from benchmarks.learning.collect import token_counts
from benchmarks.learning.process import run_bounded
from benchmarks.learning.study import EVALUATE_EVERY, arm_overrides, seed_overrides
from benchmarks.learning.tasks import WORDS
from treepo.quickstart.prepare import prepare
from treepo.quickstart.report import Series, read_scalars

PHASES = {
    "rollout": "timing_s/gen",
    "old log-probs": "timing_s/old_log_prob",
    "advantages": "timing_s/adv",
    "update": "timing_s/update_actor",
    "weights to the rollout": "timing_s/update_weights",
    "step": "timing_s/step",
}
"""What verl's trainer times, by the names of its logs."""

_ROW_TOKENS = "perf/total_num_tokens"
_PACKED = "treepo/packing/packed_tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepArm:
    """One way to train.

    Attributes:
        says: What it is.
        of: The arm of `benchmarks.learning` that it is.
        overrides: What it sets besides.
    """

    says: str
    of: str
    overrides: tuple[str, ...] = ()


STEP_ARMS = {
    "grpo": StepArm(says="GRPO, n = width, verl alone", of="grpo"),
    "grpo_packed": StepArm(says="GRPO, n = width, packed", of="grpo_packed"),
    "trees": StepArm(says="trees, trained row by row", of="treepo", overrides=("treepo.packing.enabled=false",)),
    "packed": StepArm(says="trees, packed", of="treepo", overrides=("treepo.packing.enabled=true",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What the steps of one arm took, the first left out.

    Attributes:
        generated: Tokens that the engine decoded, mean per step.
        contained: Response tokens of all trajectories, mean per step.
        row_tokens: Tokens of prompts and responses in rows, mean per step.
        computed: Tokens that the update ran on, mean per step.
        seconds: Of each step, by phase.
    """

    generated: float
    contained: float
    row_tokens: float
    computed: float
    seconds: dict[str, list[float]]


def measure_steps(*, steps: int, folder: Path, cache: Path, limit: float, console: Console) -> dict[str, Steps]:
    """Trains every arm once, one after the other.

    Args:
        steps: Training steps.
        folder: Where the runs' own folders are made.
        cache: Where task and model are kept, and made if they are missing.
        limit: Seconds that a run may take.
        console: Told what happens.

    Raises:
        ProcessFailed: A training failed or took too long.
    """
    prepared = prepare(cache, console=console, lessons=WORDS.lessons(WORDS.warm_start))
    found = {}
    for name, arm in STEP_ARMS.items():
        here = (folder / name).resolve()
        overrides = [
            *arm_overrides(ARMS[arm.of], steps=EVALUATE_EVERY),
            *arm.overrides,
            *seed_overrides(0),
            f"trainer.total_training_steps={steps}",
            "trainer.save_freq=-1",
            f"data.train_files=[{prepared.task.train.resolve()}]",
            f"data.val_files=[{prepared.task.held_out.resolve()}]",
            f"actor_rollout_ref.model.path={prepared.model.path.resolve()}",
            f"run_dir={here}",
        ]
        console.print(f"{arm.says}: {steps} steps, log in {here / 'train.log'}")
        command = [sys.executable, "-m", "benchmarks.learning.train", ARMS[arm.of].sampling.value]
        run_bounded([*command, *overrides], here / "train.log", limit=limit)
        found[name] = read_steps(read_scalars(here / "tensorboard"), steps)
    return found


def read_steps(scalars: Mapping[str, Series], steps: int) -> Steps:
    """Reads a training's logs.

    Args:
        scalars: By name and step.
        steps: Training steps that it made.

    Raises:
        ValueError: A step is missing.
    """
    generated, contained = token_counts(scalars, steps)
    rows = _after_first(scalars, _ROW_TOKENS, steps)
    # Per rank and mini-batch; the preset has one of each.
    computed = _after_first(scalars, _PACKED, steps) if _PACKED in scalars else rows
    return Steps(
        generated=fmean(generated[1:]),
        contained=fmean(contained[1:]),
        row_tokens=fmean(rows),
        computed=fmean(computed),
        seconds={phase: _after_first(scalars, name, steps) for phase, name in PHASES.items()},
    )


def _after_first(scalars: Mapping[str, Series], name: str, steps: int) -> list[float]:
    series = scalars.get(name, {})
    if list(series) != list(range(1, steps + 1)):
        raise ValueError(f"{name} is logged for steps {list(series)}, not for 1 to {steps}")
    return list(series.values())[1:]


def step_table(found: Mapping[str, Steps]) -> str:
    """Two Markdown tables: tokens per step, and medians of the seconds by phase with the range in brackets."""
    tokens = ["| arm | generated | in trajectories | in rows | the update ran on |", "| --- |" + " ---: |" * 4]
    seconds = ["| arm | " + " | ".join(PHASES) + " |", "| --- |" + " ---: |" * len(PHASES)]
    for name, steps in found.items():
        says = STEP_ARMS[name].says
        counts = (steps.generated, steps.contained, steps.row_tokens, steps.computed)
        tokens.append(f"| {says} | " + " | ".join(f"{count:,.0f}" for count in counts) + " |")
        seconds.append(f"| {says} | " + " | ".join(_range(steps.seconds[phase]) for phase in PHASES) + " |")
    return "\n".join(["Tokens per step:", "", *tokens, "", "Seconds per step:", "", *seconds])


def _range(values: list[float]) -> str:
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
