"""The model's folder: configuration, tokenizer, chat template and weights, looked at without loading them."""

from pathlib import Path

from omegaconf import DictConfig

from treepo.config import ConfigError
from treepo.files.model import has_tokenizer, is_hub_name, read_json, weights_problem
from treepo.start.declared import Start, reads

_MODEL = "actor_rollout_ref.model"
_OPTION = f"{_MODEL}.path"


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
    if not has_tokenizer(place):
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
    found = _folder(model)
    if found is not None and (problem := weights_problem(found)) is not None:
        raise _refusal(model, problem)


def _folder(model: DictConfig) -> Path | None:
    """The model's folder; None for a name on the hub, which cannot be looked into."""
    found = Path(str(model.path)).expanduser()
    return None if not found.is_dir() and is_hub_name(str(model.path)) else found


def _has_template(tokenizer: Path) -> bool:
    """Whether it is in one of the places of transformers; a tokenizer's own class may bring one of its own."""
    if (tokenizer / "chat_template.jinja").is_file() or (tokenizer / "chat_template.json").is_file():
        return True
    settings = tokenizer / "tokenizer_config.json"
    values = read_json(settings) if settings.is_file() else {}
    return bool(values.get("chat_template")) or "auto_map" in values or any(tokenizer.glob("additional_chat_templates"))


def _refusal(model: DictConfig, reason: str) -> ConfigError:
    return ConfigError(f"{_OPTION}={model.path} is refused: {reason}")
