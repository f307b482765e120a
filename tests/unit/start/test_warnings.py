"""Configurations that run but are probably mistakes are warnings with their remedy."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from start_checks import run_checks

from treepo.config.load import compose, resolve
from treepo.start import warnings

ROWS = 64


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("cautions") / "train.parquet"
    pq.write_table(pa.table({"row": list(range(ROWS))}), file)
    return file


def found(table: Path, *overrides: str, preset: str = "cpu_quickstart") -> list[str]:
    # Packing would look for the model.
    config = compose(preset, ["treepo.packing.enabled=false", f"data.train_files=[{table}]", *overrides])
    resolve(config)
    return run_checks(config, warnings)


@pytest.mark.parametrize("preset", ["cpu_quickstart", "qwen2_5_7b", "treepo_trainer"])
def test_no_preset_needs_one(table: Path, preset: str) -> None:
    assert found(table, preset=preset) == []


def test_a_training_that_saves_nothing_is_told_so(table: Path) -> None:
    for steps in (-1, 0):
        (warning,) = found(table, f"trainer.save_freq={steps}")
        assert warning.startswith(f"trainer.save_freq={steps}: no checkpoint is ever written")
    assert found(table, "trainer.save_freq=-1", "trainer.val_only=true") == []


def test_epochs_that_end_before_the_last_step_are_told_with_the_number_that_suffices(table: Path) -> None:
    (warning,) = found(table, "trainer.total_epochs=12")
    assert warning == (
        "trainer.total_epochs=12 ends the training at step 48, before trainer.total_training_steps=50 and without a "
        "last checkpoint; set trainer.total_epochs=13"
    )
    assert found(table, "trainer.total_epochs=13") == []
    assert found(table, "trainer.total_epochs=12", "trainer.total_training_steps=null") == []
    assert "set trainer.total_epochs=25" in found(table, "trainer.total_epochs=13", "data.train_max_samples=32")[0]
    assert found(table, "trainer.total_epochs=12", "data.custom_cls.path=own.py") == []


def test_a_response_length_out_of_reach_comes_with_the_depth_that_reaches_it(table: Path) -> None:
    (warning,) = found(table, "treepo.max_depth=2")
    assert warning == (
        "treepo.max_depth x treepo.segment_length = 64 is below data.max_response_length=160: the last 96 tokens of a "
        "response can never be used; set treepo.max_depth=5, or data.max_response_length=64"
    )


def test_shorter_segments_of_the_published_run_leave_the_length_penalty_unread_and_half_of_the_response(
    table: Path,
) -> None:
    words = ("treepo.segment_length=256", "treepo.max_divergence=3")
    (warning,) = found(table, *words, preset="qwen2_5_7b")
    assert "the last 3584 tokens of a response can never be used, and the length penalty never applies" in warning
    assert "set treepo.max_depth=28" in warning
    assert found(table, *words, "treepo.max_depth=28", preset="qwen2_5_7b") == []
    # In reach of the last 512 tokens the penalty does apply.
    (warning,) = found(table, "treepo.segment_length=500", preset="qwen2_5_7b")
    assert "penalty" not in warning


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["data.max_response_length=32"], "set treepo.segment_length=7, or allow longer responses"),
        (["treepo.segment_length=200"], "set treepo.segment_length=32, or allow longer responses"),
        (
            ["treepo.segment_length=160", "treepo.max_depth=1"],
            "set treepo.segment_length=80 and treepo.max_depth=2, or allow longer responses",
        ),
    ],
)
def test_trees_of_one_segment_are_told_with_the_segment_that_makes_several(
    table: Path, words: list[str], remedy: str
) -> None:
    (warning,) = found(table, *words)
    assert "make one segment of data.max_response_length=" in warning
    assert warning.endswith(f"trees fork at the root alone; {remedy}")
