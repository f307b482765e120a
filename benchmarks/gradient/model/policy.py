"""The policy that is looked at: a model, its prompts with their answers, and how its trees grow."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from treepo.config import ConfigError, TreePOConfig, load_config
from treepo.config.load import compose, tree_options
from treepo.packing.attention import IMPLEMENTATION, check_model
from treepo.rewards.math import compute_score


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt of the training set.

    Attributes:
        tokens: Its tokens, the generation prompt with them.
        source: Names the data.
        answer: The ground truth.
    """

    tokens: list[int]
    source: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy, and all that its samples depend on.

    Attributes:
        folder: Its folder.
        sampler: The model in single precision, for decoding.
        learner: The same over packed trees, as a training has it.
        scorer: The same in double precision, for derivatives by differences.
        tokenizer: Its tokenizer.
        prompts: The training set.
        options: The preset's options of `treepo`.
        response_length: Most tokens of a response.
        batch: Prompts of a training step.
    """

    folder: Path
    sampler: PreTrainedModel
    learner: PreTrainedModel
    scorer: PreTrainedModel
    tokenizer: Any
    prompts: list[Prompt]
    options: Mapping[str, Any]
    response_length: int
    batch: int

    @property
    def end(self) -> int:
        """The token that ends a response."""
        assert isinstance(self.tokenizer.eos_token_id, int)
        return self.tokenizer.eos_token_id

    def shaped(self, sampling: Mapping[str, Any]) -> TreePOConfig:
        """The preset's options with those of a shape; a group that a shape names replaces the preset's."""
        return load_config({**self.options, **sampling})

    def decode(self, tokens: Any) -> str:
        """Text of some tokens, as the tree and the reward read it."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def reward(self, prompt: Prompt, response: list[int]) -> float:
        """The reward that the training uses."""
        return float(compute_score(prompt.source, self.decode(response), prompt.answer)["score"])


def load_policy(preset: str, overrides: list[str], *, model: Path | None = None, data: Path | None = None) -> Policy:
    """Loads what a preset would train.

    Args:
        preset: The preset; its model and training set are taken where nothing else is named.
        overrides: Of its options.
        model: A model's folder instead of the preset's.
        data: A training set instead of the preset's, a parquet in verl's layout.

    Raises:
        ConfigError: An option is refused; model or data are not there; the model is none that packing computes
            exactly; or the trees are of turns.
    """
    composed = compose(preset, overrides)
    options = tree_options(composed)
    if options.environment.name is not None:
        raise ConfigError(
            f"treepo.environment.name={options.environment.name} is refused here: trees of turns are not measured"
        )
    folder = model or Path(composed.actor_rollout_ref.model.path)
    table = data or Path(str(composed.data.train_files[0]))
    for option, path in (("--model", folder / "config.json"), ("--data", table)):
        if not path.is_file():
            raise ConfigError(f"{option}: {path} does not exist; name a folder or file that does")
    transformers_logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scorer = _load(folder, dtype=torch.float64, attn_implementation=IMPLEMENTATION)
    try:
        check_model(scorer.config)
        keep_double(scorer)
    except ValueError as error:
        raise ConfigError(f"--model {folder} is refused: {error}") from error
    return Policy(
        folder=folder,
        sampler=_load(folder, dtype=torch.float32, attn_implementation="sdpa"),
        learner=_load(folder, dtype=torch.float32, attn_implementation=IMPLEMENTATION),
        scorer=scorer,
        tokenizer=tokenizer,
        prompts=_prompts(table, tokenizer),
        options=options.model_dump(mode="json", exclude_unset=True),
        response_length=composed.data.max_response_length,
        batch=composed.data.train_batch_size,
    )


def _load(folder: Path, **options: Any) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_pretrained(folder, **options).eval()
    embeddings: Any = model.get_input_embeddings()
    # Or gradients would leave out the row of the padding token where it was sampled, and differences would not.
    embeddings.padding_idx = None
    return model


def keep_double(model: PreTrainedModel) -> None:
    """Lets a model in double precision stay in it: transformers' norms compute in single precision, whatever comes.

    Differences of a model whose states are rounded to single precision would be noise.

    Raises:
        ValueError: It has norms of another kind than x / sqrt(mean x^2 + eps) times a weight.
    """
    for name, module in model.named_modules():
        if not type(module).__name__.endswith("Norm"):
            continue
        weight, eps = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
        if weight is None or eps is None:
            raise ValueError(f"its norm {name} of type {type(module).__name__} is not known in double precision")
        norm = _DoubleNorm(weight, eps)
        probe = torch.linspace(-1.0, 2.0, weight.numel(), dtype=torch.float64)
        if not torch.allclose(norm(probe), module(probe), atol=1e-5):
            raise ValueError(f"its norm {name} of type {type(module).__name__} is not known in double precision")
        module.forward = norm


class _DoubleNorm:
    def __init__(self, weight: Tensor, eps: float) -> None:
        self._weight, self._eps = weight, eps

    def __call__(self, states: Tensor) -> Tensor:
        return self._weight * states * torch.rsqrt(states.square().mean(-1, keepdim=True) + self._eps)


def _prompts(table: Path, tokenizer: Any) -> list[Prompt]:
    rows = pq.read_table(table, columns=["data_source", "prompt", "reward_model"]).to_pylist()
    return [
        Prompt(
            tokens=list(
                tokenizer.apply_chat_template(
                    row["prompt"], add_generation_prompt=True, tokenize=True, return_dict=False
                )
            ),
            source=row["data_source"],
            answer=row["reward_model"]["ground_truth"],
        )
        for row in rows
    ]
