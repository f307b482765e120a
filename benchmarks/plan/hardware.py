"""Accelerators by their data sheets, and models by their published config.json."""

from dataclasses import dataclass
from pathlib import Path

from treepo.config import ConfigError
from treepo.start.memory.model_shape import ModelShape, read_shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One accelerator.

    Attributes:
        tflops: Peak of dense bfloat16 matrix products, in 10^12 operations per second.
        bandwidth: Of its memory, in 10^12 bytes per second.
        link: Of one accelerator to the others, in 10^12 bytes per second and direction.
        memory_gib: Of its memory.
    """

    tflops: float
    bandwidth: float
    link: float
    memory_gib: float


HARDWARE = {
    # NVIDIA's data sheets of the SXM modules, without sparsity; NVLink's total bandwidth halved for one direction.
    "a100": Hardware(tflops=312, bandwidth=2.039, link=0.3, memory_gib=80),
    "h100": Hardware(tflops=989, bandwidth=3.35, link=0.45, memory_gib=80),
    "h200": Hardware(tflops=989, bandwidth=4.8, link=0.45, memory_gib=141),
}

_QWEN2 = 'model_type="qwen2",num_hidden_layers={},hidden_size={},intermediate_size={},num_attention_heads={},'
MODELS = {
    "qwen2_5_0_5b": _QWEN2.format(24, 896, 4864, 14)
    + "num_key_value_heads=2,vocab_size=151936,tie_word_embeddings=true",
    "qwen2_5_1_5b": _QWEN2.format(28, 1536, 8960, 12)
    + "num_key_value_heads=2,vocab_size=151936,tie_word_embeddings=true",
    "qwen2_5_7b": _QWEN2.format(28, 3584, 18944, 28)
    + "num_key_value_heads=4,vocab_size=152064,tie_word_embeddings=false",
    "qwen3_4b": 'model_type="qwen3",num_hidden_layers=36,hidden_size=2560,intermediate_size=9728,'
    "num_attention_heads=32,num_key_value_heads=8,head_dim=128,vocab_size=151936,tie_word_embeddings=true",
    "llama3_1_8b": 'model_type="llama",num_hidden_layers=32,hidden_size=4096,intermediate_size=14336,'
    "num_attention_heads=32,num_key_value_heads=8,vocab_size=128256,tie_word_embeddings=false",
}
"""The sizes in the published config.json of each."""


def find_model(name: str) -> ModelShape:
    """The shape of a model.

    Args:
        name: One of `MODELS`, a folder with a ``config.json``, or such a file.

    Raises:
        ConfigError: It is none of these, or no dense decoder.
    """
    if name in MODELS:
        return read_shape(Path(name), MODELS[name])
    file = Path(name).expanduser()
    file = file / "config.json" if file.is_dir() else file
    if not file.is_file():
        raise ConfigError(f"--model {name} is no folder with a config.json, and none of {', '.join(MODELS)}")
    return read_shape(file.parent, str(file))
