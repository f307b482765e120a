"""An evaluation's results reach verl's own loggers, at the step of the checkpoint."""

import json
from pathlib import Path

import pytest
from evaluation_run import plan

from treepo.evaluation.options import LOGGERS, EvaluationConfig
from treepo.verl.serving.tracking import checkpoint_step, track


def options(*loggers: str) -> EvaluationConfig:
    return EvaluationConfig(model="m", benchmarks=("sums",), loggers=loggers)


def test_results_are_in_the_file_that_verl_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "metrics.jsonl"
    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", str(file))
    made = plan(model="run/checkpoints/global_step_50/actor")
    track(options("file"), tmp_path / "run", made, {"evaluation/sums/independent/avg@16": 0.5})
    (line,) = file.read_text().splitlines()
    assert json.loads(line) == {"step": 50, "data": {"evaluation/sums/independent/avg@16": 0.5}}


def test_results_are_in_tensorboards_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_DIR", str(tmp_path / "board"))
    track(options("tensorboard"), tmp_path / "run", plan(), {"evaluation/overall/independent/weighted": 0.25})
    found = EventAccumulator(str(tmp_path / "board"))
    found.Reload()
    (event,) = found.Scalars("evaluation/overall/independent/weighted")
    assert (event.step, event.value) == (0, 0.25)


def test_the_step_is_the_checkpoints() -> None:
    assert checkpoint_step("outputs/global_step_7_old/checkpoints/global_step_120/actor") == 120
    assert checkpoint_step("Qwen/Qwen2.5-7B") == 0


def test_every_logger_of_ours_is_one_of_verls() -> None:
    from verl.utils.tracking import Tracking

    assert set(LOGGERS) <= set(Tracking.supported_backend)
