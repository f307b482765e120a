"""The options of an evaluation, ``evaluation.*``, typed."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, model_validator

from treepo.evaluation.keep.records import INDEPENDENT, tree_label

LOGGERS: Mapping[str, str | None] = {
    **{name: name for name in ("wandb", "tensorboard", "mlflow", "swanlab", "trackio", "clearml")},
    "file": None,
    "console": None,
}
"""Loggers of verl 0.9.1 (``verl.utils.tracking``) that take numbers alone, and the package that each needs."""


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
    model_revision: str | None = Field(
        default=None, description="Branch, tag or commit of a model on the hub; null: its default branch."
    )
    benchmarks: tuple[str, ...] = Field(
        default=(), description="Names of sets in `data_dir`, or paths of parquet files in verl's layout."
    )
    data_dir: str = Field(default="data", description="Where `treepo data` put the sets.")
    max_questions: int | None = Field(
        default=None, ge=1, description="Number of questions per benchmark, from the first, for smoke runs; null: all."
    )
    n: int = Field(default=16, ge=1, description="Samples per question and seed; the trajectories of a tree.")
    seeds: int = Field(
        default=1,
        ge=1,
        description="Seeds, `seed` and those that follow it: `n` samples or a tree of each, so that reports show how "
        "much the score moves with the seed.",
    )
    temperature: float = Field(default=0.6, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Nucleus sampling: probability mass to sample from.")
    top_k: int = Field(default=-1, ge=-1, description="Number of likeliest tokens to sample from; -1: all.")
    prompt_length: int = Field(default=2048, ge=1, description="Maximum tokens of a prompt; longer ones are left out.")
    response_length: int = Field(default=16384, ge=1, description="Maximum tokens of a response.")
    chat_template: str | None = Field(
        default=None, description="A file with a Jinja template; null: the tokenizer's own."
    )
    prompt_template: str = Field(
        default="ours",
        description="How a question is put before the chat template: `ours` (the messages of the benchmark's file), "
        "`qwen`, `final_answer`, `none` (the question alone), or a YAML file with messages that hold {question}.",
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
        description="Whether every request samples with its own seed, so that runs repeat; slower on accelerators.",
    )
    deterministic: bool = Field(
        default=False,
        description="Whether vLLM computes the same whatever else is in the batch (verl's `rollout.full_determinism`); "
        "slower, and GPUs alone.",
    )
    log_probs: bool = Field(default=False, description="Whether every token's log-prob is stored.")
    nodes: int = Field(default=1, ge=1, description="Nodes; the launcher sets it to the scheduler's number.")
    accelerators_per_node: int = Field(default=1, ge=1, description="Accelerators of a node.")
    tensor_parallel_size: int = Field(default=1, ge=1, description="Accelerators of a server.")
    data_parallel_size: int | None = Field(
        default=None, ge=1, description="Servers over all nodes; null: as many as the accelerators hold."
    )
    gpu_memory_utilization: float = Field(
        default=0.9, gt=0, le=1, description="Fraction of an accelerator's memory for weights and KV cache."
    )
    prompts_in_flight: int | None = Field(
        default=None, ge=1, description="Prompts in flight at a time; null: twice what fills the sequence slots."
    )
    judges: int = Field(default=4, ge=1, description="Processes that judge answers where comparing texts does not.")
    reward_function: str | None = Field(
        default=None,
        description="`FILE.py:NAME` or `pkg://MODULE:NAME`, called as verl calls one, in place of the built-in scorer; "
        "null: that.",
    )
    reward_threshold: float = Field(
        default=1.0, description="Lowest `acc` (without it, score) that counts as correct; for `reward_function`."
    )
    loggers: tuple[str, ...] = Field(
        default=(),
        description="Loggers of verl that get the results: `wandb`, `tensorboard`, `mlflow`, `swanlab`, `trackio`, "
        "`clearml`, `file`, `console`.",
    )
    project_name: str = Field(default="treepo", description="Project that the loggers write to.")
    experiment_name: str | None = Field(
        default=None, description="Name of the run for the loggers; null: the name of `run_dir`."
    )
    max_failures: int = Field(
        default=16, ge=0, description="Prompts that may fail before the run ends; the same command retries them."
    )

    @model_validator(mode="after")
    def _together(self) -> "EvaluationConfig":
        for name in ("model", "benchmarks"):
            if not getattr(self, name):
                raise ValueError(f"evaluation.{name} is empty; set it")
        if self.reward_function is None and self.reward_threshold != 1:
            raise ValueError(
                f"evaluation.reward_threshold={self.reward_threshold} is refused: nothing reads it without "
                "evaluation.reward_function"
            )
        if self.deterministic and not self.seeded_requests:
            raise ValueError(
                "evaluation.deterministic=true is refused with evaluation.seeded_requests=false: every sample of a "
                "server would draw from one seed, and be the same"
            )
        if unknown := [name for name in self.loggers if name not in LOGGERS]:
            known = ", ".join(LOGGERS)
            raise ValueError(f"evaluation.loggers={list(self.loggers)} is refused: {unknown[0]} is none of {known}")
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
