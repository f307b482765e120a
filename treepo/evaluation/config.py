"""The options of an evaluation, ``evaluation.*``, typed; and those of its trees, ``treepo.*``."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from treepo.config import ConfigError, TreePOConfig, load_config, option_names
from treepo.config.load import CONFIG_DIR, compose, resolve
from treepo.config.policies import CutPosition
from treepo.evaluation.keep.records import INDEPENDENT, tree_label

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
)
"""What an evaluation reads of ``treepo.*``; width, divergence and seed are options of the evaluation."""

_FOLLOWS = {
    "nnodes": "nodes",
    "tensor_model_parallel_size": "tensor_parallel_size",
    "gpu_memory_utilization": "gpu_memory_utilization",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "prompt_length": "prompt_length",
    "response_length": "response_length",
}


class Sampling(StrEnum):
    """How samples are drawn.

    * ``independent``: each by itself.
    * ``tree``: a question's samples as one tree, once per divergence.
    * ``both``: independent samples, then trees beside them.
    """

    INDEPENDENT = "independent"
    TREE = "tree"
    BOTH = "both"


class EvaluationConfig(BaseModel):
    """Options ``evaluation.*``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    model: str = Field(
        default="",
        description="A Hugging Face model's folder, a checkpoint of verl or a run's folder with some, or a name on "
        "the hub.",
    )
    benchmarks: tuple[str, ...] = Field(
        default=(), description="Names of sets in `data_dir`, or paths of parquet files in verl's layout."
    )
    data_dir: str = Field(default="data", description="Where `python -m treepo.datasets` put the sets.")
    n: int = Field(default=16, ge=1, description="Samples per question and seed; the trajectories of a tree.")
    seeds: int = Field(
        default=1,
        ge=1,
        description="Seeds, `seed` and those that follow it: `n` samples or a tree of each, so that reports show how "
        "much the score moves with the seed.",
    )
    temperature: float = Field(default=0.6, ge=0, description="Of the draw; 0 is greedy.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Share of the probability that is drawn from.")
    top_k: int = Field(default=-1, ge=-1, description="Tokens that are drawn from, at least 1; -1: all.")
    prompt_length: int = Field(default=2048, ge=1, description="Tokens of a prompt, at most; longer ones are left out.")
    response_length: int = Field(default=16384, ge=1, description="Tokens of a response, at most.")
    chat_template: str | None = Field(
        default=None, description="A file with a Jinja template; null: the tokenizer's own."
    )
    sampling: Sampling = Field(default=Sampling.INDEPENDENT, description="How samples are drawn.")
    divergences: tuple[int, ...] = Field(
        default=(2,),
        min_length=1,
        description="Divergences of the trees, from 1 to `n`; every one is a sampling of its own.",
    )
    seed: int = Field(
        default=0, ge=0, description="First of `seeds`; the seeds of all samples and trees follow from them."
    )
    seeded_requests: bool = Field(
        default=True,
        description="Whether every request draws from its own seed, so that runs repeat; slower on accelerators.",
    )
    log_probs: bool = Field(default=False, description="Whether every token's log-probability is kept.")
    nodes: int = Field(default=1, ge=1, description="Nodes; the launcher sets it to the scheduler's number.")
    accelerators_per_node: int = Field(default=1, ge=1, description="Accelerators of a node.")
    tensor_parallel_size: int = Field(default=1, ge=1, description="Accelerators of a server.")
    data_parallel_size: int | None = Field(
        default=None, ge=1, description="Servers over all nodes; null: as many as the accelerators hold."
    )
    gpu_memory_utilization: float = Field(
        default=0.9, gt=0, le=1, description="Share of an accelerator's memory for weights and cache."
    )
    prompts_in_flight: int | None = Field(
        default=None, ge=1, description="Prompts that are asked at a time; null: twice what fills the sequence slots."
    )
    judges: int = Field(default=4, ge=1, description="Processes that judge answers which reading cannot decide.")
    max_failures: int = Field(
        default=16, ge=0, description="Prompts that may fail before the run ends; the same command asks them again."
    )

    @model_validator(mode="after")
    def _together(self) -> "EvaluationConfig":
        for name in ("model", "benchmarks"):
            if not getattr(self, name):
                raise ValueError(f"evaluation.{name} is empty; set it")
        if self.top_k == 0:
            raise ValueError("evaluation.top_k=0 is refused: give at least 1, or -1 for all tokens")
        if self.trees:
            if self.n < 2:
                raise ValueError(f"evaluation.n={self.n} is refused: a tree has at least 2 samples")
            if len(set(self.divergences)) < len(self.divergences):
                raise ValueError(f"evaluation.divergences={list(self.divergences)} has one of them twice")
            if not all(1 <= divergence <= self.n for divergence in self.divergences):
                raise ValueError(
                    f"evaluation.divergences={list(self.divergences)} is refused: each must be between 1 and "
                    f"evaluation.n={self.n}"
                )
        return self

    @property
    def samples(self) -> int:
        """Samples per question, those of all seeds together."""
        return self.n * self.seeds

    @property
    def trees(self) -> bool:
        """Whether any sampling is a tree."""
        return self.sampling is not Sampling.INDEPENDENT

    @property
    def samplings(self) -> tuple[str, ...]:
        """Labels of the samplings, in the order in which they are run."""
        independent = () if self.sampling is Sampling.TREE else (INDEPENDENT,)
        trees = tuple(tree_label(divergence) for divergence in self.divergences) if self.trees else ()
        return (*independent, *trees)


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
    try:
        return EvaluationConfig.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        option = ".".join(["evaluation", *(str(part) for part in problem["loc"])])
        if problem["type"] == "extra_forbidden":
            known = option_names(EvaluationConfig, "evaluation")
            close = get_close_matches(option, known, n=1)
            remedy = f"did you mean {close[0]}?" if close else f"known options: {', '.join(known)}"
            raise ConfigError(f"{option} is not an option; {remedy}") from error
        if problem["type"] == "value_error":
            raise ConfigError(problem["msg"].removeprefix("Value error, ")) from error
        message = problem["msg"].replace("Input should be", "must be")
        raise ConfigError(f"{option}={problem['input']!r} is refused: {message}") from error


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
