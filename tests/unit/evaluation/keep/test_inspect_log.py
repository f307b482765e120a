"""A run as Inspect has it: what stands where, and one line where Inspect is not installed."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from evaluation_run import graded, plan, sample, write_run

from treepo.config import ConfigError
from treepo.evaluation import StoredRun
from treepo.evaluation.keep.inspect_log import inspect_record, write_inspect_logs
from treepo.tree import FinishReason


@pytest.fixture
def run(tmp_path: Path) -> StoredRun:
    cut = sample("q1", 1, correct=False, answer=None, verdict="no_answer", finish=FinishReason.MAX_TOKENS)
    return write_run(tmp_path / "run", plan(), [*graded("q0", "+-"), *graded("q1", "+"), cut])


def record(run: StoredRun) -> Any:
    return inspect_record(
        run.plan, "sums", "independent", list(run.samples("sums")), created="2026-01-02T03:04:05+00:00"
    )


def test_a_question_is_a_sample_and_its_samples_are_epochs(run: StoredRun) -> None:
    found = record(run)
    assert json.loads(json.dumps(found)) == found
    assert [(one["id"], one["epoch"]) for one in found["samples"]] == [("q0", 1), ("q0", 2), ("q1", 1), ("q1", 2)]
    assert found["eval"]["dataset"] == {"name": "sums", "samples": 2, "sample_ids": ["q0", "q1"]}
    assert found["eval"]["config"] == {"epochs": 2}
    assert found["status"] == "success"


def test_a_sample_has_what_was_asked_said_and_decided(run: StoredRun) -> None:
    first, *_, last = record(run)["samples"]
    assert (first["input"], first["target"]) == ("prompt of q0", ["2"])
    (choice,) = first["output"]["choices"]
    assert choice == {"message": {"role": "assistant", "content": "response 0 to q0"}, "stop_reason": "stop"}
    assert first["scores"]["treepo"] == {"value": "C", "answer": "2", "explanation": "decided by exact"}
    assert last["output"]["choices"][0]["stop_reason"] == "max_tokens"
    assert last["scores"]["treepo"]["value"] == "I"


def test_the_accuracy_is_that_of_the_report_and_an_unfinished_run_is_no_success(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", plan(), graded("q0", "+-"))
    found = record(run)
    assert found["results"]["scores"][0]["metrics"]["accuracy"]["value"] == 0.5
    assert (found["results"]["total_samples"], found["results"]["completed_samples"]) == (4, 2)
    assert found["status"] == "cancelled"


def test_without_inspect_there_is_one_line(run: StoredRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(ConfigError, match="which is not installed: `pip install inspect_ai`"):
        write_inspect_logs(run, tmp_path / "out")


def test_inspect_reads_what_its_writer_wrote(run: StoredRun, tmp_path: Path) -> None:
    log: Any = pytest.importorskip("inspect_ai.log")
    (path,) = write_inspect_logs(run, tmp_path / "out")
    found = log.read_eval_log(str(path))
    assert [(one.id, one.epoch, one.scores["treepo"].value) for one in found.samples] == [
        *(("q0", 1, "C"), ("q0", 2, "I"), ("q1", 1, "C"), ("q1", 2, "I")),
    ]
    assert found.samples[0].output.completion == "response 0 to q0"
