"""A model's folder as Hugging Face lays it out, looked at without loading it."""

import json
from pathlib import Path
from typing import Any

from treepo.config import ConfigError

_TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "*.tiktoken")
_WEIGHTS = ("*.safetensors", "*.bin")
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_POINTER = b"version https://git-lfs"
# PEFT's names, which verl's `hf_model` of a LoRA run has.
_ADAPTER = b"base_model.model."
# Of a file of weights the header names the tensors.
_HEADER_BYTES = 1 << 16


def is_hub_name(path: str) -> bool:
    """Whether a path that is no folder here names something that is fetched: ``owner/name``, or an address."""
    given = Path(path).expanduser()
    return "://" in path or (len(given.parts) == 2 and not given.is_absolute() and not given.parent.exists())


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ConfigError: It cannot be read, or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({' '.join(str(error).split())}); copy or save it anew") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no JSON object; copy or save it anew")
    return values


def context_length(folder: Path) -> int | None:
    """The longest sequence that a model knows; None where it does not say.

    Raises:
        ConfigError: Its ``config.json`` cannot be read.
    """
    described = folder / "config.json"
    length = read_json(described).get("max_position_embeddings") if described.is_file() else None
    return length if isinstance(length, int) else None


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer's files."""
    return any(any(folder.glob(pattern)) for pattern in _TOKENIZER)


def weight_files(folder: Path) -> list[Path]:
    """The files of weights in a folder, sorted by name."""
    return sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern) if path.name != "training_args.bin")


def weights_problem(folder: Path) -> str | None:
    """Why a folder's weights could not be loaded, with the remedy; None where nothing is wrong."""
    for index in (folder / name for name in _INDICES):
        shards = sorted(set(read_json(index).get("weight_map", {}).values())) if index.is_file() else []
        if missing := [name for name in shards if not (folder / name).is_file()]:
            return f"{index.name} names {len(shards)} files of weights and {missing[0]} is missing; fetch it"
    found = weight_files(folder)
    if not found:
        return "it has no weights (*.safetensors or *.bin); fetch them"
    for path in found:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
        if head.startswith(_POINTER):
            return f"{path.name} is a Git LFS pointer and no weights; run `git lfs pull` there"
        if _ADAPTER in head and path.name.startswith(("model", "pytorch_model")):
            return (
                f"{path.name} is a LoRA run's, with the adapter beside the base weights under PEFT's names; merge it "
                "with PEFT's merge_and_unload and give that folder"
            )
    return None
