"""What a model's path may mean, and one line for what it may not."""

import json
from pathlib import Path

import pytest

from treepo.config import ConfigError
from treepo.evaluation.ask.model_folder import check_model, find_model, weights_digest


def model(folder: Path, *, weights: bool = True, context: int = 512) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": context}))
    (folder / "tokenizer.json").write_text("{}")
    if weights:
        (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def checkpoint(run: Path, *, step: int = 50, ranks: int = 2, whole: bool = False) -> Path:
    """A run's folder with a checkpoint of verl."""
    actor = run / "checkpoints" / f"global_step_{step}" / "actor"
    model(actor / "huggingface", weights=whole)
    (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": ranks}))
    for rank in range(ranks):
        (actor / f"model_world_size_{ranks}_rank_{rank}.pt").write_bytes(b"shard")
    (run / "checkpoints" / "latest_checkpointed_iteration.txt").write_text(str(step))
    return actor


def test_a_model_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    found = find_model(str(model(tmp_path / "model")))
    assert (found.folder, found.shards, found.on_hub) == (tmp_path / "model", None, False)


def test_a_name_on_the_hub_is_not_looked_into() -> None:
    found = find_model("Qwen/Qwen2.5-7B")
    assert found.on_hub
    check_model(found, longest=10**9)
    assert weights_digest(found.folder) is None


@pytest.mark.parametrize(
    "place", [".", "checkpoints", "checkpoints/global_step_50", "checkpoints/global_step_50/actor"]
)
def test_every_folder_of_a_run_leads_to_its_checkpoint(tmp_path: Path, place: str) -> None:
    actor = checkpoint(tmp_path)
    found = find_model(str(tmp_path / place))
    assert (found.shards, found.folder) == (actor, actor / "merged")
    assert not found.on_hub


def test_a_checkpoint_that_holds_the_whole_model_is_not_merged(tmp_path: Path) -> None:
    actor = checkpoint(tmp_path, whole=True)
    found = find_model(str(tmp_path))
    assert (found.folder, found.shards) == (actor / "huggingface", None)


def test_what_was_merged_before_is_not_merged_again(tmp_path: Path) -> None:
    merged = model(checkpoint(tmp_path) / "merged")
    found = find_model(str(tmp_path))
    assert (found.folder, found.shards) == (merged, None)


def test_the_last_checkpoint_of_a_run_names_its_step(tmp_path: Path) -> None:
    checkpoint(tmp_path, step=25)
    checkpoint(tmp_path, step=50)
    assert find_model(str(tmp_path)).name.endswith("global_step_50")
    assert find_model(str(tmp_path / "checkpoints/global_step_25")).name.endswith("global_step_25")


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        ("missing", "there is no such folder"),
        ("empty", "it holds neither a Hugging Face model (config.json and weights) nor a checkpoint of verl"),
        ("shard", "lacks model_world_size_2_rank_1.pt, one of 2 shards"),
        ("fsdp_config", "has no whole model in huggingface/ and no fsdp_config.json"),
        ("step", "names step 75"),
    ],
)
def test_a_wrong_path_is_one_line(tmp_path: Path, broken: str, line: str) -> None:
    actor, given = checkpoint(tmp_path / "run"), tmp_path / "run"
    match broken:
        case "missing":
            given = tmp_path / "nowhere"
        case "empty":
            given = tmp_path / "nothing"
            given.mkdir()
        case "shard":
            (actor / "model_world_size_2_rank_1.pt").unlink()
        case "fsdp_config":
            (actor / "fsdp_config.json").unlink()
        case "step":
            (given / "checkpoints/latest_checkpointed_iteration.txt").write_text("75")
    with pytest.raises(ConfigError) as refused:
        find_model(str(given))
    assert str(refused.value).startswith("evaluation.model=")
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_model_without_tokenizer_or_with_too_short_a_context_is_refused(tmp_path: Path) -> None:
    folder = model(tmp_path / "model", context=512)
    check_model(find_model(str(folder)), longest=512)
    with pytest.raises(ConfigError, match=r"= 513 is refused: the model's context has 512 tokens"):
        check_model(find_model(str(folder)), longest=513)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="has no tokenizer"):
        check_model(find_model(str(folder)), longest=512)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1",
            "is a Git LFS pointer and no weights; run `git lfs pull` there",
        ),
        (b'{"base_model.model.lm_head.weight": {}}', "is a LoRA run's, .*merge it with PEFT's merge_and_unload"),
    ],
)
def test_weights_that_no_engine_could_load_are_refused_with_what_helps(
    tmp_path: Path, content: bytes, words: str
) -> None:
    actor = checkpoint(tmp_path, whole=True)
    (actor / "huggingface/model.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^evaluation.model=.* is refused: model.safetensors {words}"):
        check_model(find_model(str(tmp_path)), longest=8)


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_description_of_shards_is_one_line(tmp_path: Path, content: str) -> None:
    (checkpoint(tmp_path) / "fsdp_config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"fsdp_config\.json (cannot be read|holds no|names no world_size)"):
        find_model(str(tmp_path))


def test_a_damaged_model_configuration_is_one_line(tmp_path: Path) -> None:
    folder = model(tmp_path / "model")
    (folder / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json cannot be read"):
        check_model(find_model(str(folder)), longest=8)


def test_other_weights_have_another_digest(tmp_path: Path) -> None:
    folder = model(tmp_path / "model")
    first = weights_digest(folder)
    assert first == weights_digest(folder)
    (folder / "model.safetensors").write_bytes(b"weighty")
    assert weights_digest(folder) != first
