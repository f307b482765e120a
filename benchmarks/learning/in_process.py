"""A training of the study in one process, for many seeds where the whole stack has time for few."""

import os
import time
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import torch

from benchmarks.gradient.model.policy import Policy, load_policy
from benchmarks.learning.arms import ARMS
from benchmarks.learning.evaluate import accuracy_of
from benchmarks.learning.learner import Learner
from benchmarks.learning.results import RunFailed, RunKey, RunResult
from benchmarks.learning.study import EVALUATE_EVERY, PRESET, arm_overrides, samples_of, study_fingerprint
from benchmarks.learning.tasks import Task
from treepo.config import ConfigError
from treepo.config.load import compose
from treepo.quickstart.prepare import Prepared


class InProcessRunner:
    """Makes one run in this process.

    Args:
        task: What is learned.
        prepared: Task and warm-started model.
        steps: Training steps.
    """

    def __init__(self, task: Task, *, prepared: Prepared, steps: int) -> None:
        self._task = task
        self._prepared = prepared
        self._steps = steps
        self._starts: dict[int, float] = {}

    def __call__(self, key: RunKey) -> RunResult:
        """Makes the run.

        Raises:
            RunFailed: The arm is none that can be trained so, or task or model are not there.
        """
        torch.set_num_threads(1)
        load_before, began = os.getloadavg()[0], time.time()
        overrides = arm_overrides(ARMS[key.arm], steps=self._steps, task=self._task)
        composed = compose(PRESET, overrides)
        try:
            learner = Learner(composed, self._policy(overrides), seed=key.seed)
        except ConfigError as error:
            raise RunFailed(str(error)) from error
        accuracy = {0: self._start(learner, key.seed)}
        steps = []
        for number in range(1, self._steps + 1):
            steps.append(learner.step(number))
            if number % EVALUATE_EVERY == 0:
                accuracy[number] = self._accuracy(learner, key.seed)
        trajectories = sum(one.trajectories for one in steps)
        return RunResult(
            arm=key.arm,
            seed=key.seed,
            fingerprint=key.fingerprint,
            study=study_fingerprint(steps=self._steps, task=self._task),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            overrides=overrides,
            held_out_samples=self._task.warm_start.task.held_out * samples_of(self._task),
            accuracy_steps=list(accuracy),
            accuracy=[round(value, 6) for value in accuracy.values()],
            tokens_generated=[one.generated for one in steps],
            tokens_in_trajectories=[one.contained for one in steps],
            fallback_share=round(sum(one.by_fallback for one in steps) / trajectories, 4),
            reward=[round(one.reward, 4) for one in steps],
            seconds=[round(one.decoding + one.updating, 3) for one in steps],
            seconds_by_part={
                "gen": round(float(np.mean([one.decoding for one in steps])), 3),
                "update_actor": round(float(np.mean([one.updating for one in steps])), 3),
            },
            start_up_seconds=0.0,
            wall_seconds=round(time.time() - began, 1),
            load_before=round(load_before, 2),
            versions={package: version(package) for package in ("treepo", "torch", "transformers")},
        )

    def _policy(self, overrides: list[str]) -> Policy:
        return load_policy(
            PRESET, overrides, model=self._prepared.model.path.resolve(), data=self._prepared.task.train.resolve()
        )

    def _start(self, learner: Learner, seed: int) -> float:
        if seed not in self._starts:
            self._starts[seed] = self._accuracy(learner, seed)
        return self._starts[seed]

    def _accuracy(self, learner: Learner, seed: int) -> float:
        policy, settings = learner.policy, self._task.warm_start
        return accuracy_of(policy.sampler, policy.tokenizer, settings, samples=samples_of(self._task), seed=seed)
