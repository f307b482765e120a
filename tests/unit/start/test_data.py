"""The rows to train on are read as verl reads them, and what it would fail on is refused before the start."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from omegaconf import DictConfig, OmegaConf
from start_checks import run_checks
from tiny_stack import write_tiny_model

from treepo.config import ConfigError
from treepo.start import data

Row = dict[str, Any]
Compose = Callable[..., DictConfig]


def row(words: int = 3, **columns: Any) -> Row:
    return {
        "data_source": "tests",
        "prompt": [{"role": "user", "content": "7 plus " * words}],
        "reward_model": {"style": "rule", "ground_truth": "12"},
        "extra_info": {"index": 0},
    } | columns


def write(path: Path, rows: list[Row]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    else:
        path.write_text(json.dumps(rows))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def config(model: Path, tmp_path: Path) -> Compose:
    def make(*files: Path, **options: Any) -> DictConfig:
        held_out = write(tmp_path / "held_out.parquet", [row()])
        values = {
            "train_files": [str(file) for file in files],
            "val_files": [str(held_out)],
            "custom_cls": {"path": None, "name": None},
            "prompt_key": "prompt",
            "train_batch_size": 2,
            "train_max_samples": -1,
            "max_prompt_length": 60,
            "filter_overlong_prompts": False,
            "truncation": "error",
            "apply_chat_template_kwargs": {},
            "tool_config_path": None,
            "function_tool_path": None,
            **{f"{kind}_key": f"{kind}s" for kind in ("image", "video", "audio")},
        }
        path = {"path": str(model), "tokenizer_path": None, "custom_chat_template": None, "trust_remote_code": False}
        return OmegaConf.create(
            {
                "data": values | options,
                "treepo": {"width": 4},
                "trainer": {"val_only": False, "val_before_train": True},
                "actor_rollout_ref": {"model": path},
            }
        )

    return make


def refused(config: DictConfig) -> str:
    with pytest.raises(ConfigError) as error:
        run_checks(config, data)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".json"])
def test_every_kind_of_file_that_verl_reads_is_read(suffix: str, config: Compose, tmp_path: Path) -> None:
    file = write(tmp_path / f"train{suffix}", [row(), row()])
    assert run_checks(config(file), data) == []
    wrong = write(tmp_path / f"wrong{suffix}", [row(prompt="7 plus 5?")])
    assert "row 0: prompt must be a list of messages" in refused(config(wrong))
    broken = tmp_path / f"broken{suffix}"
    broken.write_text("[")
    assert "is not a readable" in refused(config(broken))


def test_a_file_of_another_kind_is_refused_with_those_that_are_read(config: Compose, tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    file.write_text("prompt\n")
    assert "ends with none of .parquet, .json, .jsonl" in refused(config(file))


def test_a_file_elsewhere_is_left_to_verl(config: Compose) -> None:
    assert run_checks(config(train_files=["hdfs://data/train.parquet"]), data) == []


def test_the_prompts_column_has_the_name_that_is_set(config: Compose, tmp_path: Path) -> None:
    rows = [{"question" if name == "prompt" else name: value for name, value in row().items()} for _ in range(2)]
    file = write(tmp_path / "train.parquet", rows)
    assert run_checks(config(file, prompt_key="question", val_files=[str(file)]), data) == []
    line = refused(config(file))
    assert "lacks the column prompt; it has" in line
    assert line.endswith("name the prompts' with data.prompt_key")


def test_a_dataset_class_of_the_users_reads_what_it_likes(config: Compose, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    options: dict[str, Any] = {"custom_cls": {"path": str(own), "name": "Own"}}
    assert refused(config(tmp_path / "train.arrow", **options)).startswith(f"data.custom_cls.path={own} is refused")
    own.touch()
    assert run_checks(config(tmp_path / "train.arrow", **options), data) == []


def test_extra_info_is_an_object_or_nothing(config: Compose, tmp_path: Path) -> None:
    text = write(tmp_path / "text.parquet", [row(extra_info='{"index": 0}')] * 2)
    assert "row 0: extra_info must be an object" in refused(config(text))
    assert run_checks(config(write(tmp_path / "none.parquet", [row(extra_info=None)] * 2)), data) == []


def test_files_that_verl_cannot_join_are_named_with_the_column(config: Compose, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.parquet", [row()] * 2)
    text = write(tmp_path / "text.parquet", [row(extra_info={"index": "0"})] * 2)
    assert refused(config(whole, text)).startswith(
        f"data.train_files: extra_info.index is int64 and string in {whole} and {text}; "
    )
    others = write(tmp_path / "others.parquet", [row(extra_info={"split": "train"}, more=1)] * 2)
    assert run_checks(config(whole, others), data) == []


def test_a_prompt_that_would_lose_its_beginning_is_refused_unless_that_is_wanted(
    config: Compose, tmp_path: Path
) -> None:
    file = write(tmp_path / "train.parquet", [row(), row(words=200), row()])
    line = refused(config(file))
    assert line.startswith(f"data.train_files: {file} row 1 has a prompt of ")
    assert "above data.max_prompt_length=60, and loses its beginning; set data.filter_overlong_prompts=true" in line
    (warning,) = run_checks(config(file, truncation="left"), data)
    assert "row 1 has a prompt of " in warning
    assert run_checks(config(file, filter_overlong_prompts=True), data) == []


@pytest.mark.parametrize("kept", [0, 1])
def test_a_filter_that_leaves_less_than_a_batch_is_refused_with_what_is_left(
    kept: int, config: Compose, tmp_path: Path
) -> None:
    file = write(tmp_path / "train.parquet", [row()] * kept + [row(words=200)] * 3)
    line = refused(config(file, filter_overlong_prompts=True))
    assert line.startswith(
        f"data.filter_overlong_prompts=true leaves {kept} rows of data.train_files, and 2 are needed: "
    )
    assert line.endswith("lower data.train_batch_size") == (kept > 0)


def test_a_filter_that_leaves_nothing_to_validate_on_is_refused(config: Compose, tmp_path: Path) -> None:
    file, long = write(tmp_path / "train.parquet", [row()] * 2), write(tmp_path / "long.parquet", [row(words=200)])
    line = refused(config(file, val_files=[str(long)], filter_overlong_prompts=True))
    assert line.startswith("data.filter_overlong_prompts=true leaves 0 rows of data.val_files, and 1 are needed: ")


def test_a_template_that_refuses_a_prompt_is_one_line(config: Compose, tmp_path: Path) -> None:
    made = config(write(tmp_path / "train.parquet", [row()] * 2))
    made.actor_rollout_ref.model.custom_chat_template = "{{ raise_exception('no users') }}"
    assert "refuses a prompt (no users)" in refused(made)
