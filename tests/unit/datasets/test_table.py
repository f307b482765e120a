"""A parquet file that the training could not read is refused in one line with option, file and remedy."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from training_run import write_sums

from treepo.config import ConfigError
from treepo.datasets import check_table

SOUND: dict[str, list[Any]] = {
    "data_source": ["tests"],
    "prompt": [[{"role": "user", "content": "1 plus 1?"}]],
    "reward_model": [{"style": "rule", "ground_truth": "2"}],
}


def test_a_sound_file_passes(tmp_path: Path) -> None:
    check_table(write_sums(tmp_path / "sums.parquet", 3, seed=0), "data.train_files")


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({**SOUND, "prompt": ["1 plus 1?"]}, "row 0: prompt must be a list of messages"),
        ({**SOUND, "prompt": [[]]}, "row 0: prompt must be a list of messages"),
        ({**SOUND, "prompt": [[{"role": "user"}]]}, "row 0: prompt must be a list of messages"),
        ({**SOUND, "reward_model": [{"style": "rule"}]}, "row 0: reward_model must hold a ground_truth"),
        ({**SOUND, "reward_model": [{"ground_truth": None}]}, "row 0: reward_model must hold a ground_truth"),
        ({**SOUND, "data_source": [7]}, "row 0: data_source must be a string"),
        ({name: SOUND[name] for name in ("data_source", "prompt")}, "lacks the column reward_model; it has"),
        ({name: [] for name in SOUND}, "has no rows"),
    ],
)
def test_what_verl_could_not_read_is_refused(tmp_path: Path, columns: dict[str, list[Any]], problem: str) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(ConfigError) as refused:
        check_table(path, "data.val_files")
    assert str(refused.value).startswith(f"data.val_files: {path} {problem}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "does not exist"), (b"", "is not a readable parquet"), (b"PAR1x", "is not a readable")],
)
def test_what_is_no_parquet_file_is_refused(tmp_path: Path, content: bytes | None, problem: str) -> None:
    path = tmp_path / "table.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=problem):
        check_table(path, "data.train_files")
