"""The model's folder: configuration, tokenizer, chat template and weights, looked at without loading them."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from treepo.config import ConfigError
from treepo.start.declared import Start, reads

_MODEL = "actor_rollout_ref.model"
_OPTION = f"{_MODEL}.path"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "*.tiktoken")
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WEIGHTS = ("*.safetensors", "*.bin")
_POINTER = b"version https://git-lfs"
# PEFT's names, which verl's `hf_model` of a LoRA run has.
_ADAPTER = b"base_model.model."


@reads(_OPTION)
def folder(start: Start) -> None:
    """Refuses a path that is no model's folder."""
    model = start.config.actor_rollout_ref.model
    found = _folder(model)
    if found is None:
        return
    if not found.is_dir():
        raise _refusal(model, "there is no such folder; give one that holds a Hugging Face model")
    if not (found / "config.json").is_file():
        raise _refusal(model, "it has no config.json; give a Hugging Face model folder")
    read_json(found / "config.json")


@reads(_OPTION, f"{_MODEL}.tokenizer_path", f"{_MODEL}.custom_chat_template")
def tokenizer(start: Start) -> None:
    """Refuses a model without a tokenizer, or one without a chat template: prompts are chat messages."""
    model = start.config.actor_rollout_ref.model
    found = _folder(model)
    if found is None and model.tokenizer_path is None:
        return
    place = Path(str(model.tokenizer_path or found)).expanduser()
    if not place.is_dir() and is_hub_name(str(model.tokenizer_path)):
        return
    if not any(any(place.glob(pattern)) for pattern in _TOKENIZER_FILES):
        raise _refusal(
            model,
            "it has no tokenizer; save one there, or name its folder with actor_rollout_ref.model.tokenizer_path",
        )
    if not model.custom_chat_template and not _has_template(place):
        raise _refusal(
            model,
            f"the tokenizer in {place} has no chat template, and prompts are chat messages; set "
            "actor_rollout_ref.model.custom_chat_template",
        )


@reads(_OPTION)
def weights(start: Start) -> None:
    """Refuses a folder without its weights: with none, with some of several files, with pointers or an adapter."""
    model = start.config.actor_rollout_ref.model
    if (found := _folder(model)) is not None:
        _check_weights(found, model)


def is_hub_name(path: str) -> bool:
    """Whether a path that is no folder here names something that is fetched: ``owner/name``, or an address."""
    given = Path(path).expanduser()
    return "://" in path or (len(given.parts) == 2 and not given.is_absolute() and not given.parent.exists())


def _folder(model: DictConfig) -> Path | None:
    """The model's folder; None for a name on the hub, which cannot be looked into."""
    found = Path(str(model.path)).expanduser()
    return None if not found.is_dir() and is_hub_name(str(model.path)) else found


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model's folder.

    Raises:
        ConfigError: It cannot be read, or holds something else.
    """
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read ({' '.join(str(error).split())}); copy or save it anew") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no JSON object; copy or save it anew")
    return values


def _has_template(tokenizer: Path) -> bool:
    """Whether it is in one of the places of transformers; a tokenizer's own class may bring one of its own."""
    if (tokenizer / "chat_template.jinja").is_file() or (tokenizer / "chat_template.json").is_file():
        return True
    settings = tokenizer / "tokenizer_config.json"
    values = read_json(settings) if settings.is_file() else {}
    return bool(values.get("chat_template")) or "auto_map" in values or any(tokenizer.glob("additional_chat_templates"))


def _check_weights(folder: Path, model: DictConfig) -> None:
    found = sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern) if path.name != "training_args.bin")
    for index in (folder / name for name in _INDICES):
        shards = sorted(set(read_json(index).get("weight_map", {}).values())) if index.is_file() else []
        if missing := [name for name in shards if not (folder / name).is_file()]:
            raise _refusal(
                model, f"{index.name} names {len(shards)} files of weights and {missing[0]} is missing; fetch it"
            )
    if not found:
        raise _refusal(model, "it has no weights (*.safetensors or *.bin); fetch them")
    for path in found:
        with path.open("rb") as file:
            head = file.read(1 << 16)
        if head.startswith(_POINTER):
            raise _refusal(model, f"{path.name} is a Git LFS pointer and no weights; run `git lfs pull` there")
        if _ADAPTER in head and path.name.startswith(("model", "pytorch_model")):
            raise _refusal(
                model,
                f"{path.name} is a LoRA run's, with the adapter beside the base weights under PEFT's names; merge it "
                "with PEFT's merge_and_unload and give that folder",
            )


def _refusal(model: DictConfig, reason: str) -> ConfigError:
    return ConfigError(f"{_OPTION}={model.path} is refused: {reason}")
