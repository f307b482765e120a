"""``treepo view`` opens what a training, an evaluation or a file holds, and refuses the rest in one line."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from evaluation_run import plan, sample, tree_sample, write_run
from report_page import Page

from treepo.commands import main
from treepo.evaluation import BenchmarkPlan
from treepo.viewer import record_line
from treepo.viewer.schema import TreeRecord


def record(step: int, uid: str) -> TreeRecord:
    """A tree of one node."""
    return TreeRecord.model_validate(
        {
            "version": 4,
            "step": step,
            "prompt": {"uid": uid, "text": f"prompt of {uid}", "tokens": [1]},
            "nodes": [
                {
                    "id": 1,
                    "parent": None,
                    "depth": 1,
                    "start": 0,
                    "text": "ab",
                    "tokens": [1, 2],
                    "log_probs": [-0.5, -1.5],
                    "weight_versions": [0, 0],
                }
            ],
            "trajectories": [
                {
                    "path": {"node_ids": [1], "node_lengths": [2]},
                    "reason": "eos",
                    "finish_step": 1,
                    "from_fallback": False,
                    "reward": 1.0,
                }
            ],
            "stats": {},
        }
    )


def write_steps(folder: Path, steps: Sequence[int]) -> None:
    folder.mkdir(parents=True)
    for step in steps:
        lines = [record_line(record(step, uid)) for uid in ("u1", "u2")]
        (folder / f"step_{step}.jsonl").write_text("".join(lines))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A training's folder with trees of three steps, beside files that are none."""
    write_steps(tmp_path / "run" / "trees", [2, 10, 1])
    (tmp_path / "run" / "trees" / "step_3.jsonl.unfinished").write_text("{")
    return tmp_path / "run"


def listed(page: Path) -> list[tuple[str, str]]:
    """Group and uid of every tree of a page."""
    index: dict[str, Any] = json.loads(Page.read(page).script("index"))
    return [(index["groups"][row[0]], row[1]) for row in index["rows"]]


def test_a_training_opens_step_by_step(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(run)]) == 0
    page = run / "view" / "index.html"
    assert listed(page) == [(f"step {step}", uid) for step in (1, 2, 10) for uid in ("u1", "u2")]
    said = capsys.readouterr().out
    assert said.startswith("6 trees of 3 groups, 0.1 MB: ")
    assert said.rstrip().endswith(str(page))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--step", "10"], [("step 10", "u1"), ("step 10", "u2")]),
        (["--prompt", "u2"], [("step 1", "u2"), ("step 2", "u2"), ("step 10", "u2")]),
        (["--step", "2", "--prompt", "u1"], [("step 2", "u1")]),
    ],
)
def test_steps_and_prompts_are_chosen(run: Path, words: list[str], expected: list[tuple[str, str]]) -> None:
    out = run.parent / "new" / "chosen.html"
    assert main(["view", str(run / "trees"), "-o", str(out), *words]) == 0
    assert listed(out) == expected


def test_a_file_opens_beside_itself_as_one_file(run: Path) -> None:
    assert main(["view", str(run / "trees" / "step_2.jsonl")]) == 0
    assert listed(run / "trees" / "step_2.html") == [("step 2", "u1"), ("step 2", "u2")]


def test_an_evaluation_opens_by_benchmark_and_sampling(tmp_path: Path) -> None:
    described = plan(benchmarks={"sums": BenchmarkPlan(questions=1, weight=1)}, samplings=("independent", "tree d=2"))
    write_run(tmp_path / "eval", described, [sample("q0", 0), sample("q0", 1), tree_sample(0, [(1, 2), (2, 2)])])
    assert main(["view", str(tmp_path / "eval")]) == 0
    expected = [("sums, independent", "q0"), ("sums, tree d=2", "q0")]
    assert listed(tmp_path / "eval" / "view" / "index.html") == expected


def test_a_browser_is_asked_for_or_its_absence_is_said(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: asked.append(address) or len(asked) == 1)
    for _ in range(2):
        assert main(["view", str(run), "--open"]) == 0
    assert asked == [(run / "view" / "index.html").as_uri()] * 2
    assert capsys.readouterr().err == "no browser opens here; copy the page to a machine that has one\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere"], "nowhere does not exist; name a run's run_dir, or a file of dumped trees"),
        (["empty"], "empty holds no trees (trees/step_N.jsonl); a training with treepo.dump_trees=N writes them"),
        (["run", "--step", "7"], "--step 7: run holds trees of the steps 1, 2, 10"),
        (["run", "--prompt", "u9"], "--prompt u9: no tree has this prompt"),
        (["run/trees/step_1.jsonl", "--step", "2"], "there is no tree"),
        (["damaged.jsonl"], "damaged.jsonl, line 1: format version none, this viewer reads 2 to 4"),
        (["eval", "--step", "1"], "--step 1: eval is an evaluation, which has no steps"),
        (["run", "-o", "empty.txt"], "empty.txt is a file; name a folder, or a file that ends in .html"),
        (["run", "-o", "run"], "run holds other files; name a new folder with --out"),
        (["run", "-o", "empty.txt/view"], "empty.txt"),
    ],
)
def test_what_cannot_be_shown_is_one_line_and_nothing_is_written(
    run: Path, words: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run.parent
    (folder / "empty").mkdir()
    (folder / "eval").mkdir()
    (folder / "eval" / "run.json").write_text("{}")
    (folder / "damaged.jsonl").write_text("{}\n")
    (folder / "empty.txt").write_text("mine")
    before = sorted(folder.rglob("*"))
    monkeypatch.chdir(folder)
    assert main(["view", *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {line}")
    assert (captured.err.count("\n"), captured.out) == (1, "")
    assert sorted(folder.rglob("*")) == before
