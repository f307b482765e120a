"""Finds the model that a path means: a Hugging Face folder, a checkpoint of verl, or a run's folder with some."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from treepo.config import ConfigError
from treepo.files.checkpoint import NOTE, noted_step
from treepo.files.model import (
    context_length,
    has_tokenizer,
    is_hub_name,
    read_json,
    weight_files,
    weights_problem,
)

MERGED = "merged"
"""Folder beside a checkpoint's shards that holds them merged."""

_OPTION = "evaluation.model"
_SAMPLED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """Where a model comes from.

    Attributes:
        name: What names the weights in reports.
        folder: The Hugging Face folder; it does not exist yet where shards are to be merged into it.
        shards: verl's shards to merge into it first; None where nothing is to be merged.
    """

    name: str
    folder: Path
    shards: Path | None = None

    @property
    def on_hub(self) -> bool:
        """Whether it is a name on the hub, which cannot be looked into."""
        return self.shards is None and not self.folder.exists()


def find_model(given: str) -> ModelSource:
    """Finds a model.

    Args:
        given: ``evaluation.model``.

    Raises:
        ConfigError: There is none; one line that says what was looked for.
    """
    folder = Path(given).expanduser()
    if not folder.is_dir():
        if is_hub_name(given):
            return ModelSource(name=given, folder=folder)
        raise ConfigError(f"{_OPTION}={given} is refused: there is no such folder")
    source = _look_into(folder, given)
    if source is None:
        raise ConfigError(
            f"{_OPTION}={given} is refused: it holds neither a Hugging Face model (config.json and weights) nor a "
            f"checkpoint of verl (actor/huggingface and shards, or {NOTE})"
        )
    return source


def check_model(source: ModelSource, *, longest: int) -> None:
    """Refuses a model that could not be served.

    Args:
        source: The model.
        longest: Tokens of prompt and response.

    Raises:
        ConfigError: It has no tokenizer, or too short a context.
    """
    if source.on_hub:
        return
    folder = source.folder if source.shards is None else source.shards / "huggingface"
    if not has_tokenizer(folder):
        raise ConfigError(f"{_OPTION}={source.name} is refused: {folder} has no tokenizer; save one there")
    if source.shards is None and (problem := weights_problem(folder)) is not None:
        raise ConfigError(f"{_OPTION}={source.name} is refused: {problem}")
    context = context_length(folder)
    if context is not None and context < longest:
        raise ConfigError(
            f"evaluation.prompt_length + evaluation.response_length = {longest} is refused: the model's context has "
            f"{context} tokens (max_position_embeddings); lower them"
        )


def weights_digest(folder: Path) -> str | None:
    """Tells one set of weights from another: names, sizes, the first and last MiB of each file; None on the hub."""
    files = weight_files(folder)
    if not files:
        return None
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLED_BYTES))
            file.seek(max(0, size - _SAMPLED_BYTES))
            digest.update(file.read(_SAMPLED_BYTES))
    return digest.hexdigest()[:16]


def _look_into(folder: Path, given: str) -> ModelSource | None:
    """The model in a folder: a Hugging Face one, an actor's, a step's, a trainer's or a run's; None for none."""
    if (folder / "config.json").is_file() and weight_files(folder):
        return ModelSource(name=given, folder=folder)
    if (folder / "huggingface").is_dir():
        return _checkpoint(folder, given)
    if (folder / "actor").is_dir():
        return _look_into(folder / "actor", given)
    if (folder / NOTE).is_file():
        step = noted_step(folder)
        inner = folder / f"global_step_{step}"
        if not inner.is_dir():
            raise ConfigError(f"{_OPTION}={given} is refused: {folder / NOTE} names step {step}, {inner} is missing")
        return _look_into(inner, str(inner))
    if (folder / "checkpoints").is_dir():
        return _look_into(folder / "checkpoints", given)
    return None


def _checkpoint(actor: Path, given: str) -> ModelSource:
    """A checkpoint of verl's FSDP trainer."""
    if weight_files(actor / "huggingface"):  # the trainer saved hf_model
        return ModelSource(name=given, folder=actor / "huggingface")
    merged = actor / MERGED
    if (merged / "config.json").is_file() and weight_files(merged):
        return ModelSource(name=given, folder=merged)
    if not (actor / "fsdp_config.json").is_file():
        raise ConfigError(
            f"{_OPTION}={given} is refused: {actor} has no whole model in huggingface/ and no fsdp_config.json, so it "
            "is no checkpoint of FSDP; merge it with `python -m verl.model_merger` and give that folder"
        )
    world = read_json(actor / "fsdp_config.json").get("world_size")
    if not isinstance(world, int):
        raise ConfigError(f"{_OPTION}={given} is refused: {actor / 'fsdp_config.json'} names no world_size")
    shards = [actor / f"model_world_size_{world}_rank_{rank}.pt" for rank in range(world)]
    if missing := [shard.name for shard in shards if not shard.is_file()]:
        raise ConfigError(f"{_OPTION}={given} is refused: {actor} lacks {missing[0]}, one of {world} shards")
    if not (actor / "huggingface" / "config.json").is_file():
        raise ConfigError(f"{_OPTION}={given} is refused: {actor / 'huggingface'} lacks config.json")
    return ModelSource(name=given, folder=merged, shards=actor)
