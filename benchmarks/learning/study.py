"""What all arms of a study share, and the names of what decides an outcome."""

import hashlib
import json
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from benchmarks.learning.arms import ARMS, Arm
from benchmarks.learning.tasks import WORDS, Task
from treepo.config import ConfigError
from treepo.config.load import compose

PRESET = "cpu_quickstart"
STEPS = 40
EVALUATE_EVERY = 10
SAMPLES = 4
# Where a run takes a minute, the time goes into more seeds.
SAMPLES_IN_PROCESS = 2
# Raised by hand when a change of the code gives an arm another outcome: results of before are then left out.
_VERSION = 1
_IN_PROCESS_VERSION = 2

_SHARED = (
    # A request's own seed costs the engine time, which independent samples would not pay.
    "treepo.rollout.seeded_requests=false",
    "actor_rollout_ref.rollout.max_num_seqs=256",
    # Saved models are evaluated after the run.
    "trainer.val_before_train=false",
    "trainer.test_freq=-1",
    f"trainer.save_freq={EVALUATE_EVERY}",
    "trainer.max_actor_ckpt_to_keep=null",
    "actor_rollout_ref.actor.checkpoint.save_contents=[hf_model]",
    "trainer.resume_mode=disable",
)


def choose(names: Sequence[str]) -> list[Arm]:
    """The arms of these names.

    Raises:
        ConfigError: One of them is none.
    """
    for name in names:
        if name not in ARMS:
            raise ConfigError(f"--arms {name} is not an arm; there are: {', '.join(ARMS)}")
    return [ARMS[name] for name in names]


def arm_overrides(arm: Arm, *, steps: int, task: Task = WORDS) -> list[str]:
    """What an arm sets in the preset ``cpu_quickstart``.

    Args:
        arm: The arm.
        steps: Training steps.
        task: What is learned.

    Raises:
        ConfigError: The model of the last step would not be saved.
    """
    return [*_shared_overrides(steps=steps, task=task), *arm.overrides]


def _shared_overrides(*, steps: int, task: Task) -> list[str]:
    if steps < EVALUATE_EVERY or steps % EVALUATE_EVERY:
        raise ConfigError(f"--steps {steps} is refused: it must be a multiple of {EVALUATE_EVERY}")
    return [*task.overrides, *_SHARED, f"trainer.total_training_steps={steps}"]


def seed_overrides(seed: int) -> list[str]:
    """The same data order in every arm; trees and samples of their own."""
    return [f"data.seed={seed}", f"treepo.seed={seed}", f"actor_rollout_ref.rollout.seed={seed}"]


def fingerprint(arm: Arm, *, steps: int, task: Task = WORDS) -> str:
    """Names everything that decides an arm's outcome but the seed: configuration, model, evaluation, version."""
    return _digest(arm_overrides(arm, steps=steps, task=task), task)


def study_fingerprint(*, steps: int, task: Task = WORDS) -> str:
    """Names what all arms of a study share: only runs with the same one are compared."""
    return _digest(_shared_overrides(steps=steps, task=task), task)


def _digest(overrides: Sequence[str], task: Task) -> str:
    named = {"in_process": _IN_PROCESS_VERSION} if task.in_process else {"version": _VERSION}
    return digest(compose(PRESET, overrides), model=task.warm_start.key, samples=samples_of(task), **named)


def samples_of(task: Task) -> int:
    """Samples of every held-out problem that an accuracy is taken from."""
    return SAMPLES_IN_PROCESS if task.in_process else SAMPLES


def digest(composed: DictConfig, **named: str | int) -> str:
    """Names a training's configuration, and what else decides its outcome."""
    config = OmegaConf.to_container(composed)
    assert isinstance(config, dict)
    # How Ray is started, and where loggers write.
    del config["ray_kwargs"]
    return hashlib.sha256(json.dumps({"config": config, **named}, sort_keys=True).encode()).hexdigest()[:10]
