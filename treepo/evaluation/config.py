"""An evaluation composed, typed and made whole: its own options, those of its trees, and those of verl's servers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from treepo.config import ConfigError, TreePOConfig, load_config
from treepo.config.load import CONFIG_DIR, compose, resolve
from treepo.config.policies import CutPosition
from treepo.config.validation import validated
from treepo.evaluation.keep.records import tree_label
from treepo.evaluation.options import EvaluationConfig

PRESETS_DIR = CONFIG_DIR / "evaluation"

TREE_OPTIONS = (
    "segment_length",
    "max_depth",
    "initial_divergence",
    "min_trajectory_length",
    "max_dropped",
    "divergence",
    "fallback",
    "termination",
    "environment",
)
"""What an evaluation reads of ``treepo.*``; width, divergence and seed are options of the evaluation."""

TALK_OPTIONS = ("segment_length", "max_depth", "termination", "environment")
"""Those that talks with an environment read, in trees and by themselves."""

_FOLLOWS = {
    "nnodes": "nodes",
    "tensor_model_parallel_size": "tensor_parallel_size",
    "gpu_memory_utilization": "gpu_memory_utilization",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "prompt_length": "prompt_length",
    "response_length": "response_length",
    "full_determinism": "deterministic",
}


def compose_evaluation(name: str, overrides: Sequence[str], *, config_dir: Path | None = None) -> DictConfig:
    """Composes an evaluation's preset; see :func:`treepo.config.load.compose`.

    Raises:
        ConfigError: One line that names the option and the remedy.
    """
    store = ConfigStore.instance()
    trees = TreePOConfig().model_dump(mode="json", include=set(TREE_OPTIONS))
    store.store(group="treepo", name="trees", node=trees)
    store.store(group="evaluation", name="default", node=EvaluationConfig.model_construct().model_dump(mode="json"))
    return compose(name, overrides, config_dir=config_dir, home=PRESETS_DIR)


def settle(config: DictConfig) -> EvaluationConfig:
    """Types the options of a composed evaluation, and fills in what follows from them; in place.

    Raises:
        ConfigError: An option is refused.
    """
    resolve(config)
    options = load_evaluation(_plain(config.evaluation))
    rollout = config.actor_rollout_ref.rollout
    for name, option in _FOLLOWS.items():
        if rollout[name] != getattr(options, option):
            raise ConfigError(
                f"actor_rollout_ref.rollout.{name}={rollout[name]} is refused: it follows evaluation.{option}; set "
                "that alone"
            )
    per_node = _accelerators(options)
    if rollout.n_gpus_per_node not in (options.accelerators_per_node, per_node):
        raise ConfigError(
            f"actor_rollout_ref.rollout.n_gpus_per_node={rollout.n_gpus_per_node} is refused: it follows "
            "evaluation.accelerators_per_node and evaluation.data_parallel_size; set those alone"
        )
    rollout.n_gpus_per_node = per_node
    needed = options.prompt_length + options.response_length
    if rollout.max_model_len is None:
        rollout.max_model_len = needed
    if rollout.max_model_len < needed:
        raise ConfigError(
            f"actor_rollout_ref.rollout.max_model_len={rollout.max_model_len} is refused: evaluation.prompt_length + "
            f"evaluation.response_length need {needed}"
        )
    return options


def load_evaluation(given: Mapping[str, Any]) -> EvaluationConfig:
    """Turns composed options into typed ones.

    Raises:
        ConfigError: An option is unknown, of the wrong type, out of range or contradicts another.
    """
    return validated(EvaluationConfig, given, prefix="evaluation")


def tree_options(config: DictConfig, options: EvaluationConfig) -> dict[str, TreePOConfig]:
    """The options of the trees of every sampling that grows some, by label.

    Raises:
        ConfigError: One of them is refused.
    """
    if not options.trees:
        return {}
    given = _plain(config.treepo)
    if given["fallback"]["cut"] == CutPosition.NONE:
        raise ConfigError(
            "treepo.fallback.cut=none is refused: without fallbacks a tree may end with fewer than evaluation.n samples"
        )
    return {
        tree_label(divergence): load_config(
            {**given, "width": options.n, "max_divergence": divergence, "seed": options.seed}
        )
        for divergence in options.divergences
    }


def talk_options(config: DictConfig) -> TreePOConfig | None:
    """The options of talks with an environment, each by itself; None without an environment.

    Raises:
        ConfigError: One of them is refused.
    """
    given = _plain(config.treepo)
    if given["environment"]["name"] is None:
        return None
    return load_config({name: given[name] for name in TALK_OPTIONS})


def _accelerators(options: EvaluationConfig) -> int:
    """Accelerators of every node that servers run on.

    Raises:
        ConfigError: They cannot be shared out.
    """
    here, size = options.accelerators_per_node, options.tensor_parallel_size
    servers = options.data_parallel_size
    used = options.nodes * here if servers is None else servers * size
    per_node, rest = divmod(used, options.nodes)
    if rest or per_node > here:
        raise ConfigError(
            f"evaluation.data_parallel_size={servers} x evaluation.tensor_parallel_size={size} is refused: it takes "
            f"{used} accelerators, evenly from evaluation.nodes={options.nodes} with "
            f"evaluation.accelerators_per_node={here}"
        )
    if used % size or (size > per_node and size % per_node):
        raise ConfigError(
            f"evaluation.tensor_parallel_size={size} is refused: {options.nodes} x {per_node} accelerators cannot be "
            "shared out into servers of that size"
        )
    return per_node


def _plain(group: Any) -> dict[str, Any]:
    """A composed group as plain values.

    Raises:
        ConfigError: It is empty.
    """
    found = OmegaConf.to_container(group, resolve=True) if group else None
    if not isinstance(found, dict):
        raise ConfigError("evaluation and treepo must be groups of options, as in evaluation.n=16")
    return {str(name): value for name, value in found.items()}
