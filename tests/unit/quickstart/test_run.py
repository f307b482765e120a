"""The quickstart's stages, with the long ones replaced: which commands they run, and how their end is said."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from treepo.commands import main
from treepo.quickstart.training import TrainingError


class Stages:
    """What ran, and what the training or the evaluation ends with."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.commands, self.ends = folder, [], {}
        self.reports = 0

    def prepare(self, cache: Path, *, console: object) -> SimpleNamespace:
        task = SimpleNamespace(train=self.folder / "train.parquet", held_out=self.folder / "held_out.parquet")
        return SimpleNamespace(task=task, model=SimpleNamespace(path=self.folder / "model-1"))

    def run(self, command: Sequence[str], log_path: Path, *, console: object, what: str = "training") -> None:
        self.commands.append(list(command))
        if what in self.ends:
            raise self.ends[what]

    def report(self, run_dir: Path, out: Path, **_: object) -> SimpleNamespace:
        self.reports += 1
        return SimpleNamespace(report=out / "report.md", accuracy_before=0.33, accuracy_after=0.605)


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stages:
    stages = Stages(tmp_path)
    monkeypatch.setattr("treepo.quickstart.prepare.prepare", stages.prepare)
    monkeypatch.setattr("treepo.quickstart.training.run_training", stages.run)
    monkeypatch.setattr("treepo.quickstart.report.write_report", stages.report)
    return stages


def quickstart(stages: Stages, *words: str) -> int:
    return main(["quickstart", "--out", str(stages.folder / "out"), "--seed", "3", *words])


def test_it_trains_evaluates_and_reports_with_commands_that_treepo_reads(
    stages: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quickstart(stages, "treepo.segment_length=16", "treepo.max_depth=10") == 0
    assert "held-out accuracy: 33.0% before, 60.5% after training\n" in capsys.readouterr().out
    assert stages.reports == 1
    (training, evaluation) = ([*command] for command in stages.commands)
    for command, kind in ((training, "train"), (evaluation, "eval")):
        assert command[1:4] == ["-m", "treepo", kind]
        assert main([*command[3:], "--cfg", "job"]) == 0
        printed = capsys.readouterr().out
        assert "  segment_length: 16\n" in printed
        assert "  seed: 3\n" in printed


@pytest.mark.parametrize(
    ("what", "error", "status", "line", "ran"),
    [
        ("training", TrainingError("training ended with status 1"), 1, "error: training ended with status 1\n", 1),
        ("evaluation", TrainingError("evaluation ended with status 2"), 1, "error: evaluation ended with ", 2),
        ("training", KeyboardInterrupt(), 130, "interrupted; the same command resumes from the last checkpoint\n", 1),
    ],
)
def test_a_stage_that_fails_ends_it_without_a_report(
    what: str,
    error: BaseException,
    status: int,
    line: str,
    ran: int,
    stages: Stages,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stages.ends[what] = error
    assert quickstart(stages) == status
    assert line in capsys.readouterr().out
    assert (len(stages.commands), stages.reports) == (ran, 0)


def test_other_options_are_another_folder(stages: Stages) -> None:
    def run_dir(*words: str) -> str:
        assert quickstart(stages, *words) == 0
        return next(word for word in stages.commands[-2] if word.startswith("run_dir="))

    assert run_dir() == run_dir() != run_dir("treepo.width=4")
