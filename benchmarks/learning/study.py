"""What is compared: the task, the warm-started model, what all arms share, and the arms."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from omegaconf import DictConfig, OmegaConf

from treepo.config import ConfigError
from treepo.config.load import compose
from treepo.quickstart.settings import WarmStartSettings
from treepo.quickstart.task import TaskSettings

PRESET = "cpu_quickstart"
BASELINE = "grpo"
STEPS = 40
EVALUATE_EVERY = 10
SAMPLES = 4
# Raised by hand when a change of the code gives an arm another outcome: results of before are then left out.
_VERSION = 1

# A pupil who slips on nearly every second carry, and never a chain that is over after two days: about a fifth is right.
WARM_START = WarmStartSettings(
    task=TaskSettings(held_out=256, fewest_steps=3, most_steps=5),
    slip_chance=0.45,
    target=0.22,
    band=(0.12, 0.32),
    response_length=120,
)

_SHARED = (
    "data.max_response_length=120",
    # A day's line of the working is about 15 tokens.
    "treepo.segment_length=24",
    "treepo.max_depth=5",
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
_TREEPO = "algorithm.adv_estimator=treepo"
# No forks after the first segment and many fallbacks, so that where a fallback cuts can matter.
_BY_FALLBACK = (_TREEPO, "treepo.max_divergence=1", "treepo.divergence.transfer=false")


class Sampling(StrEnum):
    """Where the trajectories of a prompt come from."""

    INDEPENDENT = "independent"
    TREE = "tree"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to train.

    Attributes:
        name: Names it on the command line, in files and tables.
        says: What it is, in a few words.
        sampling: Independent samples by verl's own agent loop, or trees.
        overrides: What it sets besides what all arms share.
        against: The arms it is compared with.
        published: For an ablation, what the paper found; None for the arms of the main comparison.
    """

    name: str
    says: str
    sampling: Sampling = Sampling.TREE
    overrides: tuple[str, ...]
    against: tuple[str, ...] = (BASELINE,)
    published: str | None = None


# The baseline, and the arm from which it differs in the credit alone.
_BY_CREDIT = (BASELINE, "tree_grpo")
_ALL = (
    Arm(
        name=BASELINE,
        says="independent samples, GRPO credit",
        sampling=Sampling.INDEPENDENT,
        overrides=(
            "algorithm.adv_estimator=grpo",
            "actor_rollout_ref.rollout.agent.agent_loop_manager_class=null",
        ),
        against=(),
    ),
    Arm(name="tree_grpo", says="trees, GRPO credit", overrides=("algorithm.adv_estimator=grpo",)),
    Arm(name="treepo", says="trees, `treepo`", overrides=(_TREEPO,), against=_BY_CREDIT),
    Arm(
        name="treepo_segment",
        says="trees, `treepo_segment`",
        overrides=("algorithm.adv_estimator=treepo_segment",),
        against=_BY_CREDIT,
    ),
    Arm(
        name="treepo_spo",
        says="trees, `treepo_spo`",
        overrides=("algorithm.adv_estimator=treepo_spo",),
        against=_BY_CREDIT,
    ),
    Arm(
        name="treepo_branch_weights",
        says="trees, `treepo` with `branch_weights`",
        overrides=(_TREEPO, "treepo.advantage.branch_weights=true"),
        against=(BASELINE, "treepo"),
    ),
    Arm(
        name="size_weighting",
        says="terms weighted by sub-group size (Eq. 6)",
        overrides=(_TREEPO, "treepo.advantage.subgroup_weighting=group_size"),
        against=("treepo",),
        published="averaging is better",
    ),
    Arm(
        name="rejection",
        says="sub-groups without spread left out (Eq. 7)",
        overrides=(_TREEPO, "treepo.advantage.reject_degenerate=true"),
        against=("treepo",),
        published="rejection hurts",
    ),
    Arm(
        name="no_root",
        says="without the prompt group's term",
        overrides=(_TREEPO, "treepo.advantage.include_root=false"),
        against=("treepo",),
        published="neutral",
    ),
    Arm(
        name="no_initial_divergence",
        says="as many first segments as children later, 2",
        overrides=(_TREEPO, "treepo.initial_divergence=null"),
        against=("treepo",),
        published="more initial divergence helps",
    ),
    Arm(
        name="aligned_cuts",
        says="forks at the root alone, the rest by fallback; cuts at segment boundaries",
        overrides=_BY_FALLBACK,
        against=("treepo",),
        published="not in the paper; the pair of `misaligned_cuts`",
    ),
    Arm(
        name="misaligned_cuts",
        says="the same with cuts inside segments, every 28 tokens",
        # About as many windows as a trajectory has segments: a cut at its start, which begins anew, is as frequent.
        overrides=(*_BY_FALLBACK, "treepo.fallback.window=28"),
        against=("aligned_cuts",),
        published="misaligned cuts hurt",
    ),
)
ARMS = {arm.name: arm for arm in _ALL}
MAIN = tuple(arm.name for arm in _ALL if arm.published is None)
ABLATIONS = tuple(arm.name for arm in _ALL if arm.published is not None)


def choose(names: Sequence[str]) -> list[Arm]:
    """The arms of these names.

    Raises:
        ConfigError: One of them is none.
    """
    for name in names:
        if name not in ARMS:
            raise ConfigError(f"--arms {name} is not an arm; there are: {', '.join(ARMS)}")
    return [ARMS[name] for name in names]


def arm_overrides(arm: Arm, *, steps: int) -> list[str]:
    """What an arm sets in the preset ``cpu_quickstart``.

    Args:
        arm: The arm.
        steps: Training steps.

    Raises:
        ConfigError: The model of the last step would not be saved.
    """
    return [*_shared_overrides(steps=steps), *arm.overrides]


def _shared_overrides(*, steps: int) -> list[str]:
    if steps < EVALUATE_EVERY or steps % EVALUATE_EVERY:
        raise ConfigError(f"--steps {steps} is refused: it must be a multiple of {EVALUATE_EVERY}")
    return [*_SHARED, f"trainer.total_training_steps={steps}"]


def seed_overrides(seed: int) -> list[str]:
    """The same data order in every arm; trees and samples of their own."""
    return [f"data.seed={seed}", f"treepo.seed={seed}", f"actor_rollout_ref.rollout.seed={seed}"]


def fingerprint(arm: Arm, *, steps: int) -> str:
    """Names everything that decides an arm's outcome but the seed: configuration, model, evaluation, version."""
    return _digest(arm_overrides(arm, steps=steps))


def study_fingerprint(*, steps: int) -> str:
    """Names what all arms of a study share: only runs with the same one are compared."""
    return _digest(_shared_overrides(steps=steps))


def _digest(overrides: Sequence[str]) -> str:
    return digest(compose(PRESET, overrides), model=WARM_START.key, samples=SAMPLES, version=_VERSION)


def digest(composed: DictConfig, **named: str | int) -> str:
    """Names a training's configuration, and what else decides its outcome."""
    config = OmegaConf.to_container(composed)
    assert isinstance(config, dict)
    # How Ray is started, and where loggers write.
    del config["ray_kwargs"]
    return hashlib.sha256(json.dumps({"config": config, **named}, sort_keys=True).encode()).hexdigest()[:10]
