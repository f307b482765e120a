"""A checkpoint of verl's FSDP trainer becomes a model folder, once, by verl's own merger. Checked with verl 0.9.1."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_stack import write_tiny_model
from transformers import AutoTokenizer, Qwen2ForCausalLM

from treepo.config import ConfigError
from treepo.evaluation.ask.model_folder import check_model, find_model
from treepo.files.whole import UNFINISHED
from treepo.verl.serving.merging import merged


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A step of one rank, as the trainer leaves it without ``hf_model``."""
    model = write_tiny_model(tmp_path / "model")
    actor = tmp_path / "global_step_1" / "actor"
    shutil.copytree(model, actor / "huggingface", ignore=shutil.ignore_patterns("*.safetensors"))
    (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": 1}))
    torch.save(Qwen2ForCausalLM.from_pretrained(model).state_dict(), actor / "model_world_size_1_rank_0.pt")
    return actor.parent


def test_shards_are_merged_once_into_a_folder_beside_them(checkpoint: Path, tmp_path: Path) -> None:
    source = find_model(str(checkpoint))
    check_model(source, longest=512)
    folder = merged(source)
    assert folder == checkpoint / "actor/merged"
    assert not folder.with_name(f"merged{UNFINISHED}").exists()
    AutoTokenizer.from_pretrained(folder)
    was = Qwen2ForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.bfloat16).state_dict()
    found = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).state_dict()
    assert was.keys() == found.keys()
    assert all(torch.equal(was[name], found[name]) for name in was)
    again = find_model(str(checkpoint))
    assert (again.folder, again.shards) == (folder, None)


def test_shards_that_cannot_be_read_leave_no_folder_behind(checkpoint: Path) -> None:
    (checkpoint / "actor/model_world_size_1_rank_0.pt").write_bytes(b"cut off")
    source = find_model(str(checkpoint))
    with pytest.raises(ConfigError, match=r"actor cannot be merged \(status 1\)"):
        merged(source)
    assert find_model(str(checkpoint)).shards == checkpoint / "actor"
