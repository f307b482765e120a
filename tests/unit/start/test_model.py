"""A model folder that no process could load is refused before any starts, in one line that names the remedy."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from start_checks import run_checks

from treepo.config import ConfigError
from treepo.start import model as checks


def model(folder: Path, **options: Any) -> DictConfig:
    return OmegaConf.create({"path": str(folder), "tokenizer_path": None, "custom_chat_template": None} | options)


def check_model(model: DictConfig) -> None:
    run_checks(OmegaConf.create({"actor_rollout_ref": {"model": model}}), checks)


def weights(name: str) -> bytes:
    """A safetensors file with one tensor."""
    header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As transformers saves it."""
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    (tmp_path / "model.safetensors").write_bytes(weights("model.embed_tokens.weight"))
    return tmp_path


def test_a_whole_folder_passes_and_a_name_on_a_hub_is_not_looked_into(folder: Path) -> None:
    check_model(model(folder))
    check_model(model(Path("Qwen/Qwen2.5-7B")))


def pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def shard_missing(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def adapter(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(weights("base_model.model.model.embed_tokens.weight"))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "it has no weights"),
        (pointer, "model.safetensors is a Git LFS pointer and no weights; run `git lfs pull` there"),
        (shard_missing, "model-00002-of-00002.safetensors is missing; fetch it"),
        (adapter, "model.safetensors is a LoRA run's"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": '), "config.json cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json holds no JSON object"),
        (lambda folder: (folder / "tokenizer_config.json").write_text("{}"), "custom_chat_template"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "it has no tokenizer"),
    ],
)
def test_a_folder_that_cannot_be_loaded_is_one_line(folder: Path, damage: Callable[[Path], object], words: str) -> None:
    damage(folder)
    with pytest.raises(ConfigError) as refused:
        check_model(model(folder))
    assert words in str(refused.value)
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_chat_template_may_be_a_file_of_its_own_or_an_option(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ConfigError, match="has no chat template"):
        check_model(model(folder))
    check_model(model(folder, custom_chat_template="{{ messages }}"))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    check_model(model(folder))
