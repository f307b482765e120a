"""The result folder: numbers from the logs, a resumed run counted once, plots that are pictures."""

import dataclasses
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from treepo.quickstart.report import _TURN_ROWS, accuracy_series, read_scalars, write_report
from treepo.tree import FinishReason, Node, Trajectory, Tree, TreeStats
from treepo.viewer import Scores, TreeRecord, record_line, tree_record

ACCURACY = "val-core/tests/sums/acc/mean@4"
TREE = {
    "treepo/trajectories_per_prompt/mean": 8,
    "treepo/depth/mean": 3.5,
    "treepo/trajectory_length/mean": 90,
    "treepo/fallback/per_prompt": 0.5,
    "treepo/fallback/prompt_share": 0.25,
    "treepo/fallback/trajectory_share": 0.125,
    "treepo/segments/per_prompt": 20,
    "treepo/requests/submitted_per_prompt": 8,
    "treepo/tokens/in_trajectories": 1000,
    "treepo/tokens/generated": 800,
    "treepo/tokens/prefix": 3000,
    "treepo/tokens/cached": 2500,
    "treepo/tokens/recomputed": 400,
}


def log(folder: Path, points: dict[str, dict[int, float]]) -> None:
    writer = SummaryWriter(str(folder))
    for name, series in points.items():
        for step, value in series.items():
            writer.add_scalar(name, value, step)
    writer.close()


def dumped(step: int, uid: str) -> TreeRecord:
    """A tree of one node."""
    node = Node(id=1, tokens=[1, 2], log_probs=[-0.5, -1.5])
    leaf = Trajectory(nodes=(node,), reason=FinishReason.EOS, finish_step=1, from_fallback=False)
    stats = TreeStats(**{field.name: 1 for field in dataclasses.fields(TreeStats)})
    tree = Tree(prompt_id=uid, prompt_tokens=[5], trajectories=(leaf,), stats=stats)
    return tree_record(tree, step=step, scores=[Scores(reward=1.0, advantages=[0.5, 0.5])], decode=str)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    steps = (1, 2)
    log(
        tmp_path / "tensorboard",
        {
            ACCURACY: {0: 0.25, 2: 0.75},
            "critic/score/mean": {1: -0.5, 2: 0.5},
            **{name: dict.fromkeys(steps, float(value)) for name, value in TREE.items()},
        },
    )
    (tmp_path / "validation").mkdir()
    (tmp_path / "validation" / "2.jsonl").write_text(
        '{"input": "user\\n1 plus 1?", "output": "2", "gts": "2", "score": 1.0}\n'
    )
    return tmp_path


def test_the_report_holds_accuracies_reward_and_summed_tokens(run_dir: Path) -> None:
    outcome = write_report(run_dir, run_dir, command="train", seconds={"training": 12.3})
    text = outcome.report.read_text()
    assert (outcome.accuracy_before, outcome.accuracy_after) == (0.25, 0.75)
    for line in (
        "| held-out accuracy | 25.0% | 75.0% |",
        "| reward in training, first and last step | -0.500 | +0.500 |",
        "| trajectories per prompt | 8.00 |",
        "| generated | 1,600 |",
        "| recomputed | 800 |",
        "| read from the prefix cache | 5,000 |",
        "| generated / in trajectories | 0.800 |",
        "--- ground truth 2, reward +1",
    ):
        assert line in text
    for plot in ("learning.png", "tokens.png"):
        assert (run_dir / plot).read_bytes().startswith(b"\x89PNG")
        assert plot in text


def test_without_turns_and_dumps_the_report_speaks_of_neither(run_dir: Path) -> None:
    text = write_report(run_dir, run_dir, command="train", seconds={}).report.read_text()
    assert "## The turns" not in text
    assert "trees.html" not in text


def test_turns_are_shown_as_they_were_first_and_last(run_dir: Path) -> None:
    turns: dict[str, dict[int, float]] = {name: {1: 2.0, 2: 3.5} for name in _TURN_ROWS.values()}
    log(run_dir / "tensorboard", turns)
    text = write_report(run_dir, run_dir, command="train", seconds={}).report.read_text()
    assert "| turns per trajectory | 2.00 | 3.50 |\n" in text


def test_the_newest_dumped_trees_are_drawn_beside_the_report(run_dir: Path) -> None:
    (run_dir / "trees").mkdir()
    for step in (9, 10):
        lines = [record_line(dumped(step, f"uid-{step}-{number}")) for number in range(2)]
        (run_dir / "trees" / f"step_{step}.jsonl").write_text("".join(lines))
    text = write_report(run_dir, run_dir, command="train", seconds={}).report.read_text()
    assert "Trees of step 10, token by token: [trees.html](trees.html)." in text
    page = (run_dir / "trees.html").read_text()
    assert [uid in page for uid in ("uid-9-0", "uid-10-0", "uid-10-1")] == [False, True, True]


def test_a_step_that_was_repeated_after_a_resume_counts_once(run_dir: Path) -> None:
    log(run_dir / "tensorboard", {ACCURACY: {2: 0.5, 4: 0.9}})
    assert accuracy_series(read_scalars(run_dir / "tensorboard")) == pytest.approx({0: 0.25, 2: 0.5, 4: 0.9})


def test_a_folder_without_logs_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no TensorBoard logs in .*nothing"):
        read_scalars(tmp_path / "nothing")


def test_a_run_without_validation_has_no_accuracy() -> None:
    with pytest.raises(ValueError, match="expected one held-out accuracy in the logs, found none"):
        accuracy_series({"critic/score/mean": {1: 0.0}})
