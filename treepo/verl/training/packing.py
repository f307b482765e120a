"""Whether a training packs its trees (``treepo.packing.enabled``), and how verl is told to."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from treepo.config import ConfigError, TreePOConfig

MODEL_TYPE = "treepo_packed"
"""The packed engine's name in verl's registry, written into ``actor_rollout_ref.model.model_type``."""

ENGINE_MODULE = "treepo.verl.training.packed_engine"
METRICS = "packing/"
"""Prefix of the engine's metrics, each a number per mini-batch and rank; verl's trainer puts ``actor/`` before it."""

STRATEGIES = ("fsdp", "fsdp2")

_ROLES = ("actor_rollout_ref.actor", "actor_rollout_ref.ref")
# Option, what is wrong with it, remedy.
_SWITCHES = (
    ("actor_rollout_ref.model.use_fused_kernels", "fused kernels take logits and log-probs by rows"),
    (
        "actor_rollout_ref.model.enable_activation_offload",
        "tensors would come back in another layout than they left in",
    ),
    ("actor_rollout_ref.actor.calculate_sum_pi_squared", "only log-probs and entropies are read out"),
    ("distillation.enabled", "whole distributions are not read out"),
    *((f"{role}.fsdp_config.pad_to_length", "micro-batches have lengths of their own") for role in _ROLES),
    *((f"{role}.fsdp_config.qat.enable", "quantisation would see shared tokens once") for role in _ROLES),
)

READS = (
    *("actor_rollout_ref.actor.strategy", "trainer.device"),
    *(option for option, _ in _SWITCHES),
    *(f"actor_rollout_ref.model.{part}" for part in ("path", "hf_config_path", "trust_remote_code", "override_config")),
)
"""The options that `obstacle` reads."""


def packs(config: DictConfig, options: TreePOConfig, *, look_up: bool = True) -> bool:
    """Whether log-probs and updates run packed: where that is exact, unless ``treepo.packing.enabled`` says otherwise.

    Args:
        config: The whole configuration.
        options: TreePO's.
        look_up: Whether a model that is no folder here, as on a hub, is looked up; if not, it is taken to be supported.

    Raises:
        ConfigError: It is asked for where it cannot run.
    """
    if options.packing.enabled is False:
        return False
    found = obstacle(config, look_up=look_up)
    if found and options.packing.enabled:
        raise ConfigError(f"treepo.packing.enabled=true is refused with {found}, or treepo.packing.enabled=false")
    return found is None


def obstacle(config: DictConfig, *, look_up: bool = True) -> str | None:
    """Why packing cannot run, as ``option=value: reason; remedy``; None if it can."""
    actor = config.actor_rollout_ref.actor
    if actor.strategy not in STRATEGIES:
        return (
            f"actor_rollout_ref.actor.strategy={actor.strategy}: only verl's FSDP engine has a packed one; set it to "
            "fsdp2"
        )
    if config.trainer.device not in ("cuda", "cpu"):
        return f"trainer.device={config.trainer.device}: attention over trees runs on cuda and cpu; use one of them"
    for option, reason in _SWITCHES:
        if OmegaConf.select(config, option):
            return f"{option}=true: {reason}; set it to false"
    return _model_obstacle(config.actor_rollout_ref.model, look_up=look_up)


def _model_obstacle(model: DictConfig, *, look_up: bool) -> str | None:
    path = str(model.hf_config_path or model.path)
    if not look_up and not Path(path).expanduser().is_dir():
        return None
    # Only here: these take seconds to import.
    from transformers import AutoConfig
    from verl.utils.fs import copy_to_local
    from verl.utils.model import update_model_config

    from treepo.packing.attention import obstacle as of_model

    try:
        loaded = AutoConfig.from_pretrained(copy_to_local(path), trust_remote_code=model.trust_remote_code)
    except (OSError, ValueError) as error:
        raise ConfigError(f"actor_rollout_ref.model.path={path} is refused: {' '.join(str(error).split())}") from error
    overrides = OmegaConf.to_container(model.override_config, resolve=True)
    assert isinstance(overrides, dict)
    update_model_config(loaded, override_config_kwargs=overrides.get("model_config", overrides))
    found = of_model(loaded)
    return found and f"actor_rollout_ref.model.path={model.path}: {found} is not packed; choose another model"


def sequence_ranks(role: DictConfig) -> int:
    """How many ranks share every micro-batch of ``actor_rollout_ref.actor`` or ``.ref``.

    verl still reads the older of the option's two places, too.
    """
    return max(role.ulysses_sequence_parallel_size, role.fsdp_config.ulysses_sequence_parallel_size)


def use_packed_engine(config: DictConfig) -> None:
    """Makes verl's workers import the packed engine and look it up; the critic keeps verl's own."""
    model = config.actor_rollout_ref.model
    given = OmegaConf.to_container(model.external_lib) if OmegaConf.is_list(model.external_lib) else model.external_lib
    others = given if isinstance(given, list) else [given] if given else []
    with open_dict(model):
        model.external_lib = [*others, ENGINE_MODULE]
        model.model_type = MODEL_TYPE


def uses_packed_engine(config: DictConfig) -> bool:
    """Whether `use_packed_engine` has been called on this configuration."""
    return config.actor_rollout_ref.model.get("model_type") == MODEL_TYPE
