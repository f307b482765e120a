"""The size of a dense decoder, from its ``config.json`` or from the command line."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treepo.config import ConfigError
from treepo.files.model import read_json

_NEEDED = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
_EXAMPLE = ",".join(f"{name}=..." for name in _NEEDED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A decoder as Llama's and Qwen's: gated feed-forward, grouped queries, norms without bias.

    The names are those of ``config.json``.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    tie_word_embeddings: bool
    attention_bias: bool

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer."""
        queries, keys = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        attention = self.hidden_size * (2 * queries + 2 * keys) + self.attention_bias * (queries + 2 * keys)
        return attention + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size

    @property
    def parameters(self) -> int:
        """All parameters."""
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)
        return embeddings + self.num_hidden_layers * self.layer_parameters + self.hidden_size


def read_shape(model: Path, given: str | None) -> ModelShape:
    """The shape of a model.

    Args:
        model: The model's folder.
        given: ``name=value,...`` with the names of ``config.json``, or the path of such a file; None reads the model's.

    Raises:
        ConfigError: There is none, or it is not that of a dense decoder.
    """
    if given is not None and "=" in given:
        return _shape(_parse(given), f"--model-shape {given}")
    file = Path(given).expanduser() if given is not None else model / "config.json"
    if not file.is_file():
        raise ConfigError(f"{file} does not exist; to estimate without the model give --model-shape {_EXAMPLE}")
    return _shape(read_json(file), str(file))


def _parse(given: str) -> dict[str, Any]:
    try:
        pairs = [item.split("=", 1) for item in given.split(",")]
        return {name.strip(): json.loads(value.lower()) for name, value in pairs}
    except ValueError as error:
        raise ConfigError(f"--model-shape {given} cannot be read; write {_EXAMPLE}") from error


def _shape(values: dict[str, Any], source: str) -> ModelShape:
    missing = [name for name in _NEEDED if not isinstance(values.get(name), int)]
    if missing:
        raise ConfigError(f"{source} lacks {', '.join(missing)}; give --model-shape {_EXAMPLE}")
    if any(values.get(name) for name in _EXPERTS):
        raise ConfigError(f"{source} is a mixture of experts; only dense decoders are estimated")
    heads = values["num_attention_heads"]
    return ModelShape(
        **{name: values[name] for name in _NEEDED},
        num_key_value_heads=values.get("num_key_value_heads") or heads,
        head_dim=values.get("head_dim") or values["hidden_size"] // heads,
        tie_word_embeddings=bool(values.get("tie_word_embeddings")),
        # Qwen2 has the bias without saying so.
        attention_bias=bool(values.get("attention_bias", values.get("model_type") == "qwen2")),
    )
