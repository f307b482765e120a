"""The trainer's options: the engine, its numbers, the estimator, DAPO's parts, loggers.

Checked against verl 0.9.1; nothing here imports it. ``tests/seams/test_start_seams.py`` holds the places that are
read.
"""

import os
from importlib.util import find_spec
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from treepo.advantage import ESTIMATORS, refuse_unread
from treepo.config import ConfigError
from treepo.config.suggestion import suggestion
from treepo.start.declared import Start, reads
from treepo.verl.own_checks import check_as_verl_does, estimator_names
from treepo.verl.training.packing import STRATEGIES, sequence_ranks

MODES = ("sync", "colocate_async", "separate_async")
"""Trainers of verl that trees run with: ``trainer.v1.trainer_mode``."""

OVERLONG = "reward.reward_kwargs.overlong_buffer_cfg"
"""DAPO's penalty of long responses."""

_AT_LEAST_ONE = (
    "data.train_batch_size",
    "data.max_prompt_length",
    "data.max_response_length",
    "actor_rollout_ref.actor.ppo_mini_batch_size",
    "trainer.nnodes",
    "trainer.n_gpus_per_node",
    "trainer.total_epochs",
)
_FREQUENCIES = ("trainer.save_freq", "trainer.test_freq")
# verl's loggers, and the package that each imports (utils/tracking.py); None where it needs none.
LOGGERS: dict[str, str | None] = {
    "console": None,
    "file": None,
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "tracking": "wandb",
    "vemlp_wandb": "volcengine_ml_platform",
    "mlflow": "mlflow",
    "swanlab": "swanlab",
    "clearml": "clearml",
    "trackio": "trackio",
    "rl_insight": "rl_insight",
}
_WANDB_HOST = "api.wandb.ai"
_WANDB_OFFLINE = ("offline", "disabled", "dryrun")


@reads("model_engine", "actor_rollout_ref.actor.strategy")
def engine(start: Start) -> None:
    """Refuses engines other than FSDP; nothing that only one engine has may be read before.

    Trees need nothing of FSDP: what reaches the trainer are plain trajectories. But packing, the estimate of the memory
    and the data-parallel ranks are read from its options, checkpoints are merged by its names, and no other engine has
    been run.
    """
    strategy = start.config.actor_rollout_ref.actor.strategy
    if start.config.model_engine != "dp" or strategy not in STRATEGIES:
        raise ConfigError(
            f"model_engine={start.config.model_engine} with actor_rollout_ref.actor.strategy={strategy} is refused: "
            "trees have been trained with verl's FSDP engines alone; set model_engine=dp and the strategy to fsdp or "
            "fsdp2"
        )


@reads(*_AT_LEAST_ONE, *_FREQUENCIES, "trainer.total_training_steps")
def numbers(start: Start) -> None:
    """Refuses what is no number where every training needs one; verl itself would fail on it after the start."""
    for option in _AT_LEAST_ONE:
        value = OmegaConf.select(start.config, option)
        if not _is_whole(value) or value < 1:
            raise ConfigError(f"{option}={value} is refused: it must be a whole number of at least 1")
    steps = start.config.trainer.total_training_steps
    if steps is not None and (not _is_whole(steps) or steps < 1):
        raise ConfigError(
            f"trainer.total_training_steps={steps} is refused: it must be a whole number of at least 1, or null for "
            "all of trainer.total_epochs"
        )
    for option in _FREQUENCIES:
        if not _is_whole(value := OmegaConf.select(start.config, option)):
            raise ConfigError(f"{option}={value} is refused: it must be a number of steps, or -1 for never")


@reads("trainer.v1.trainer_mode")
def mode(start: Start) -> None:
    """Refuses trainers that verl does not have; docs/async_trainers.md compares them."""
    chosen = start.config.trainer.v1.trainer_mode
    if chosen not in MODES:
        raise ConfigError(f"trainer.v1.trainer_mode={chosen} is refused: {suggestion(str(chosen), MODES)}")


_SYNC_STEP = "trainer.v1.separate_async.parameter_sync_step"
_FSDP = "actor_rollout_ref.actor.fsdp_config"


@reads(
    *("trainer.v1.trainer_mode", _SYNC_STEP, "trainer.device", "data.train_batch_size"),
    *("actor_rollout_ref.actor.ppo_mini_batch_size", "actor_rollout_ref.actor.strategy"),
    *(f"{_FSDP}.param_offload", f"{_FSDP}.offload_policy", "algorithm.rollout_correction.bypass_mode"),
)
def updates_of_a_step(start: Start) -> None:
    """Refuses updates between two weight updates that are not the batch's, or whose old log-probs verl gets wrong."""
    config = start.config
    if config.trainer.v1.trainer_mode != "separate_async":
        return
    updates, actor = config.trainer.v1.separate_async.parameter_sync_step, config.actor_rollout_ref.actor
    if not _is_whole(updates) or updates < 1 or updates * actor.ppo_mini_batch_size != config.data.train_batch_size:
        raise ConfigError(
            f"{_SYNC_STEP}={updates} is refused: it is the updates of a step, so data.train_batch_size="
            f"{config.data.train_batch_size} must be that many times actor_rollout_ref.actor.ppo_mini_batch_size="
            f"{actor.ppo_mini_batch_size}"
        )
    # verl 0.9.1 keeps the step's first weights for the later updates' old log-probs: FSDP2's as they lie, where they
    # are in main memory already, so that the next update, or the weights' return, overwrites them.
    in_main_memory = [
        name
        for name, held in (
            ("trainer.device=cpu", config.trainer.device == "cpu"),
            (f"{_FSDP}.param_offload=true", actor.fsdp_config.param_offload),
            (f"{_FSDP}.offload_policy=true", actor.fsdp_config.offload_policy),
        )
        if held
    ]
    bypassed = OmegaConf.select(config, "algorithm.rollout_correction.bypass_mode")
    if updates > 1 and actor.strategy == "fsdp2" and in_main_memory and not bypassed:
        raise ConfigError(
            f"{_SYNC_STEP}={updates} is refused with {in_main_memory[0]}: verl would not keep the weights that a step "
            "began with, from which it computes the old log-probs; set algorithm.rollout_correction.bypass_mode=true"
        )


@reads("algorithm.adv_estimator")
def estimator(start: Start) -> None:
    """Refuses an estimator that neither TreePO nor verl has."""
    name = str(start.config.algorithm.adv_estimator)
    # verl takes seconds to import, and need not be asked for a tree's.
    if name not in ESTIMATORS and name not in (known := estimator_names()):
        raise ConfigError(f"algorithm.adv_estimator={name} is refused: {suggestion(name, known)}")


@reads("treepo", "algorithm.adv_estimator")
def unread_options(start: Start) -> None:
    """Refuses options of the estimator's that it does not read; the others are refused as they are composed."""
    refuse_unread(str(start.config.algorithm.adv_estimator), start.options.advantage)


@reads("algorithm.filter_groups.enable", "algorithm.filter_groups.metric")
def dynamic_sampling(start: Start) -> None:
    """Refuses dynamic sampling without a metric, which verl would meet at the first step."""
    groups = start.config.algorithm.filter_groups
    if groups.enable and not groups.metric:
        raise ConfigError("algorithm.filter_groups.metric is empty; name what must differ, as in acc")


@reads("reward.reward_kwargs", "reward.reward_manager.name", "data.max_response_length")
def length_penalty(start: Start) -> None:
    """Refuses a penalty of long responses that verl would read late, or silently not at all."""
    config = start.config
    overlong = OmegaConf.select(config, OVERLONG)
    if overlong is None:
        return
    if missing := [key for key in ("enable", "len", "penalty_factor", "log") if overlong.get(key) is None]:
        raise ConfigError(f"{OVERLONG}.{missing[0]} is missing; verl needs enable, len, penalty_factor and log")
    if not overlong.enable:
        return
    if config.reward.reward_manager.name != "dapo":
        raise ConfigError(f"{OVERLONG}.enable=true is refused: only reward.reward_manager.name=dapo reads it")
    longest = config.reward.reward_kwargs.get("max_resp_len")
    if longest != config.data.max_response_length:
        raise ConfigError(
            f"reward.reward_kwargs.max_resp_len={longest} is refused: the penalty ends at "
            f"data.max_response_length={config.data.max_response_length}"
        )
    if not 0 < overlong.len <= longest:
        raise ConfigError(f"{OVERLONG}.len={overlong.len} is refused: it must be between 1 and {longest}")


@reads(
    "actor_rollout_ref.actor.ppo_mini_batch_size",
    "actor_rollout_ref.actor.ulysses_sequence_parallel_size",
    "actor_rollout_ref.actor.fsdp_config.ulysses_sequence_parallel_size",
    "actor_rollout_ref.rollout.n",
    "trainer.nnodes",
    "trainer.n_gpus_per_node",
)
def mini_batch(start: Start) -> None:
    """Refuses mini-batches that the ranks cannot share out evenly."""
    actor, trainer = start.config.actor_rollout_ref.actor, start.config.trainer
    ranks = max(1, trainer.nnodes * trainer.n_gpus_per_node // sequence_ranks(actor))
    rows = actor.ppo_mini_batch_size * start.config.actor_rollout_ref.rollout.n
    if rows % ranks:
        raise ConfigError(
            f"actor_rollout_ref.actor.ppo_mini_batch_size x treepo.width = {rows} is refused: the {ranks} "
            "data-parallel ranks must share a mini-batch out evenly"
        )


_ROLES = ("actor_rollout_ref.actor", "actor_rollout_ref.ref")
# verl still reads the older of the two places, too.
_SEQUENCE_RANKS = tuple(
    f"{role}.{place}ulysses_sequence_parallel_size" for role in _ROLES for place in ("", "fsdp_config.")
)


@reads(*_SEQUENCE_RANKS, "actor_rollout_ref.model.use_remove_padding", "trainer.nnodes", "trainer.n_gpus_per_node")
def shared_sequences(start: Start) -> None:
    """Refuses ranks that cannot share a sequence: verl's engine would find out in the workers."""
    trainer = start.config.trainer
    ranks = trainer.nnodes * trainer.n_gpus_per_node
    for option in _SEQUENCE_RANKS:
        size = OmegaConf.select(start.config, option) or 1
        if ranks % size:
            raise ConfigError(
                f"{option}={size} is refused: it must divide trainer.nnodes x trainer.n_gpus_per_node = {ranks}"
            )
        if size > 1 and not start.config.actor_rollout_ref.model.use_remove_padding:
            raise ConfigError(
                f"{option}={size} is refused: verl shares sequences without padding alone; set "
                "actor_rollout_ref.model.use_remove_padding=true"
            )


@reads("trainer.logger", "ray_kwargs.ray_init.runtime_env.env_vars")
def loggers(start: Start) -> None:
    """Refuses loggers that verl does not know, that are not installed, and wandb where it would ask for a key."""
    chosen = start.config.trainer.logger
    for name in [chosen] if isinstance(chosen, str) else chosen or ():
        if name not in LOGGERS:
            raise ConfigError(f"trainer.logger={name} is refused: {suggestion(str(name), LOGGERS)}")
        package = LOGGERS[name]
        if package is not None and find_spec(package) is None:
            raise ConfigError(
                f"trainer.logger={name} is refused: the package {package} is not installed; install it, or leave "
                f"{name} out, as in trainer.logger=[console,tensorboard]"
            )
        variables = {**os.environ, **start.config.ray_kwargs.ray_init.runtime_env.env_vars}
        if package == "wandb" and not _wandb_has_key(variables):
            raise ConfigError(
                f"trainer.logger={name} is refused: wandb has no key, and there is nobody to ask; run `wandb login`, "
                "or set WANDB_API_KEY, or WANDB_MODE=offline"
            )


@reads("actor_rollout_ref", "algorithm", "critic", "data", "reward", "trainer", "distillation")
def verl_itself(start: Start) -> None:
    """Refuses what verl's own checks refuse."""
    check_as_verl_does(start.config)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _wandb_has_key(variables: dict[str, Any]) -> bool:
    if variables.get("WANDB_API_KEY") or str(variables.get("WANDB_MODE", "")).lower() in _WANDB_OFFLINE:
        return True
    # Another server keeps its keys under its own name, which wandb knows best.
    if variables.get("WANDB_BASE_URL"):
        return True
    file = Path(str(variables.get("NETRC") or "~/.netrc")).expanduser()
    try:
        return netrc(str(file)).authenticators(_WANDB_HOST) is not None
    except (OSError, NetrcParseError):
        return False
