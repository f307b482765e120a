"""Models of the benchmark: published shapes without their weights, and one for CPUs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model's sizes.

    Attributes:
        hidden: Size of a token's state.
        intermediate: Of the layers' inner one.
        layers: Layers.
        heads: Query heads.
        key_heads: Key heads.
        vocabulary: Token ids.
        tied: Whether the head's weights are the embeddings'.
        head_dim: Size of a head, where it is not the hidden size over the heads.
        kind: ``qwen2`` or ``qwen3``.
    """

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int
    tied: bool = True
    head_dim: int | None = None
    kind: str = "qwen2"

    def options(self, layers: int) -> dict[str, Any]:
        """The sizes as configurations of transformers name them."""
        return {
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.key_heads,
            "tie_word_embeddings": self.tied,
        }


# Qwen2.5's and Qwen3's are those of their published config.json; the 7B has as many of its 28 layers as fit with
# float32 weights, gradients and AdamW's state into 80 GB beside 16,384 tokens.
SHAPES = {
    "smallest": Shape(hidden=64, intermediate=128, layers=2, heads=2, key_heads=1, vocabulary=320),
    # Matrix products are nearly all of its time; a vocabulary at which logits are not.
    "small": Shape(hidden=512, intermediate=1536, layers=4, heads=8, key_heads=2, vocabulary=512),
    "qwen2_5_0_5b": Shape(hidden=896, intermediate=4864, layers=24, heads=14, key_heads=2, vocabulary=151_936),
    "qwen2_5_1_5b": Shape(hidden=1536, intermediate=8960, layers=28, heads=12, key_heads=2, vocabulary=151_936),
    "qwen2_5_7b": Shape(
        hidden=3584, intermediate=18_944, layers=6, heads=28, key_heads=4, vocabulary=152_064, tied=False
    ),
    "qwen3_1_7b": Shape(
        hidden=2048,
        intermediate=6144,
        layers=28,
        heads=16,
        key_heads=8,
        vocabulary=151_936,
        head_dim=128,
        kind="qwen3",
    ),
}


def model_folder(model: str, *, folder: Path, layers: int | None = None, longest: int) -> Path:
    """A model's folder, written with random weights where a shape is named.

    Args:
        model: A name of ``SHAPES``, or a folder with a model, which is taken as it is.
        folder: Where it is written.
        layers: Instead of the shape's.
        longest: Most tokens of a row.

    Raises:
        ValueError: It is neither, or a folder was given with a number of layers.
    """
    if (Path(model) / "config.json").is_file():
        if layers is not None:
            raise ValueError("--layers is for shapes; a model's folder has its own")
        return Path(model)
    if model not in SHAPES:
        raise ValueError(f"--model {model} is no folder with a config.json, and none of {', '.join(SHAPES)}")
    _write(SHAPES[model], folder, layers=layers or SHAPES[model].layers, longest=longest)
    return folder


def vocabulary_of(folder: Path) -> int:
    """Token ids of a model."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder).vocab_size


def _write(shape: Shape, folder: Path, *, layers: int, longest: int) -> None:
    import torch
    from transformers import Qwen2Config, Qwen3Config
    from transformers.models.auto.modeling_auto import AutoModelForCausalLM
    from transformers.utils import logging

    from treepo.quickstart.tokenizer import train_tokenizer

    logging.disable_progress_bar()
    tokenizer: Any = train_tokenizer(["7 plus 5 is 12.\n"], vocabulary=300)
    torch.manual_seed(0)
    config = {"qwen2": Qwen2Config, "qwen3": Qwen3Config}[shape.kind](
        **shape.options(layers),
        head_dim=shape.head_dim or shape.hidden // shape.heads,
        max_position_embeddings=longest,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype=torch.bfloat16 if shape.vocabulary > 100_000 else torch.float32,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
