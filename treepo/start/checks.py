"""Everything that can be refused is refused here, before any process starts."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from treepo.config import ConfigError, TreePOConfig
from treepo.config.load import tree_options
from treepo.config.policies import RolloutBackend
from treepo.datasets.parquet import check_parquet
from treepo.start.model import check_model
from treepo.start.resumption import check_resumption
from treepo.start.reward_function import check_reward
from treepo.start.rollout import check_rollout
from treepo.start.training import check_engine, check_start
from treepo.start.unread import check_unread
from treepo.start.warnings import cautions
from treepo.verl.rollout.backend import backend
from treepo.verl.training.own_checks import check_as_verl_does, estimator_names
from treepo.verl.training.packing import packs

MODES = ("sync", "colocate_async")
"""Trainers of verl that trees run with: ``trainer.v1.trainer_mode``."""

_OVERLONG = "reward.reward_kwargs.overlong_buffer_cfg"


def check(config: DictConfig, *, accept_changes: bool = False) -> list[str]:
    """Checks a composed training configuration.

    Args:
        config: The whole configuration, interpolations included.
        accept_changes: Whether a run that is there goes on with options other than its own.

    Returns:
        Warnings, a line each.

    Raises:
        ConfigError: Something cannot work; the text is one line that names the option and the remedy.
    """
    options = tree_options(config)
    check_engine(config)
    _check_trainer(config, options)
    for option in ("train_files", "val_files"):
        files = config.data[option]
        if not files:
            raise ConfigError(f"data.{option} is empty; give the path of a parquet file")
        for file in [files] if isinstance(files, str) else files:
            check_parquet(Path(file).expanduser(), f"data.{option}")
    check_start(config)
    check_model(config.actor_rollout_ref.model)
    check_reward(config)
    check_rollout(config, options)
    check_as_verl_does(config)
    packs(config, options, look_up=False)
    return [*check_resumption(config, accept_changes=accept_changes), *cautions(config, options)]


def _check_numbers(config: DictConfig) -> None:
    """The numbers of verl that every training needs; verl itself would stumble over them after the start."""
    for option in (
        "data.train_batch_size",
        "data.max_prompt_length",
        "data.max_response_length",
        "actor_rollout_ref.actor.ppo_mini_batch_size",
        "trainer.nnodes",
        "trainer.n_gpus_per_node",
        "trainer.total_epochs",
    ):
        value = OmegaConf.select(config, option)
        if not _is_whole(value) or value < 1:
            raise ConfigError(f"{option}={value} is refused: it must be a whole number of at least 1")
    steps = config.trainer.total_training_steps
    if steps is not None and (not _is_whole(steps) or steps < 1):
        raise ConfigError(
            f"trainer.total_training_steps={steps} is refused: it must be a whole number of at least 1, or null for "
            "all of trainer.total_epochs"
        )
    for option in ("trainer.save_freq", "trainer.test_freq"):
        if not _is_whole(value := OmegaConf.select(config, option)):
            raise ConfigError(f"{option}={value} is refused: it must be a number of steps, or -1 for never")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_trainer(config: DictConfig, options: TreePOConfig) -> None:
    _check_numbers(config)
    rollout = config.actor_rollout_ref.rollout
    if rollout.n != options.width:
        raise ConfigError(
            f"actor_rollout_ref.rollout.n={rollout.n} is refused: it follows treepo.width={options.width}; "
            "set treepo.width alone"
        )
    _check_mode(config, options)
    _check_recipe(config)
    known, estimator = estimator_names(), str(config.algorithm.adv_estimator)
    if estimator not in known:
        raise ConfigError(f"algorithm.adv_estimator={estimator} is refused: {suggest(estimator, known)}")
    check_unread(options, estimator)


def _check_mode(config: DictConfig, options: TreePOConfig) -> None:
    """docs/async_trainers.md gives the reasons."""
    mode = config.trainer.v1.trainer_mode
    if mode == "separate_async":
        raise ConfigError(
            "trainer.v1.trainer_mode=separate_async is refused: trees have not been run on servers of their own; use "
            "sync or colocate_async"
        )
    if mode not in MODES:
        raise ConfigError(f"trainer.v1.trainer_mode={mode} is refused: {suggest(str(mode), list(MODES))}")
    portable = backend(config, options) is RolloutBackend.PORTABLE
    if mode == "colocate_async" and portable and options.rollout.seeded_requests:
        raise ConfigError(
            "treepo.rollout.seeded_requests=true is refused with trainer.v1.trainer_mode=colocate_async and "
            "treepo.rollout.backend=portable: an interrupted request would go on with the random numbers of its "
            "beginning"
        )


def _check_recipe(config: DictConfig) -> None:
    """DAPO's parts, which verl reads late, or silently not at all."""
    groups = config.algorithm.filter_groups
    if groups.enable and not groups.metric:
        raise ConfigError("algorithm.filter_groups.metric is empty; name what must differ, as in acc")
    overlong = OmegaConf.select(config, _OVERLONG)
    if overlong is not None:
        _check_overlong(config, overlong)
    actor = config.actor_rollout_ref.actor
    # verl still reads the older of the two places, too.
    sequence_parallel = max(actor.ulysses_sequence_parallel_size, actor.fsdp_config.ulysses_sequence_parallel_size)
    ranks = max(1, config.trainer.nnodes * config.trainer.n_gpus_per_node // sequence_parallel)
    mini_batch = actor.ppo_mini_batch_size * config.actor_rollout_ref.rollout.n
    if mini_batch % ranks:
        raise ConfigError(
            f"actor_rollout_ref.actor.ppo_mini_batch_size x treepo.width = {mini_batch} is refused: the {ranks} "
            "data-parallel ranks must share a mini-batch out evenly"
        )


def _check_overlong(config: DictConfig, overlong: DictConfig) -> None:
    if missing := [key for key in ("enable", "len", "penalty_factor", "log") if overlong.get(key) is None]:
        raise ConfigError(f"{_OVERLONG}.{missing[0]} is missing; verl needs enable, len, penalty_factor and log")
    if not overlong.enable:
        return
    if config.reward.reward_manager.name != "dapo":
        raise ConfigError(f"{_OVERLONG}.enable=true is refused: only reward.reward_manager.name=dapo reads it")
    longest = config.reward.reward_kwargs.get("max_resp_len")
    if longest != config.data.max_response_length:
        raise ConfigError(
            f"reward.reward_kwargs.max_resp_len={longest} is refused: the penalty ends at "
            f"data.max_response_length={config.data.max_response_length}"
        )
    if not 0 < overlong.len <= longest:
        raise ConfigError(f"{_OVERLONG}.len={overlong.len} is refused: it must be between 1 and {longest}")


def suggest(word: str, known: list[str]) -> str:
    """A remedy for a name that is not known."""
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"it must be one of {', '.join(known)}"
