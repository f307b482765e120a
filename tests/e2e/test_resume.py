"""A run and a run that stops half way and resumes agree: data order, prompts, and the trees down to their tokens."""

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from tiny_stack import write_tiny_model
from training_run import TrainingRun, logged_steps, read_json_lines, write_sums

WIDTH, PROMPTS, HALF = 4, 4, 2
SUPPORT = Path(__file__).resolve().parents[1] / "support"

pytestmark = pytest.mark.timeout(900)

Prompts = dict[str, list[tuple[str, float]]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of 2k steps, and one of k more steps from a copy of its checkpoint of step k."""
    folder = tmp_path_factory.mktemp("resume")
    arguments = [
        *("--config-name", "cpu_quickstart"),
        f"actor_rollout_ref.model.path={write_tiny_model(folder / 'model')}",
        # Three steps' worth: the fourth step reaches into the second epoch.
        f"data.train_files=[{write_sums(folder / 'train.parquet', 3 * PROMPTS, seed=0)}]",
        f"data.val_files=[{write_sums(folder / 'held_out.parquet', 4, seed=1)}]",
        f"data.train_batch_size={PROMPTS}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS}",
        "actor_rollout_ref.actor.optim.lr=1e-4",
        f"reward.custom_reward_function.path={SUPPORT / 'dense_reward.py'}",
        f"treepo.width={WIDTH}",
        "treepo.segment_length=16",
        "treepo.max_depth=4",
        "data.max_response_length=64",
        f"trainer.save_freq={HALF}",
        "trainer.test_freq=-1",
        "trainer.val_before_train=false",
        f"trainer.total_training_steps={2 * HALF}",
    ]
    whole, halved = folder / "whole", folder / "halved"
    train([*arguments, f"run_dir={whole}", f"trainer.rollout_data_dir={whole / 'rollouts'}"])
    shutil.copytree(whole / f"checkpoints/global_step_{HALF}", halved / f"checkpoints/global_step_{HALF}")
    (halved / "checkpoints/latest_checkpointed_iteration.txt").write_text(str(HALF))
    train([*arguments, f"run_dir={halved}", f"trainer.rollout_data_dir={halved / 'rollouts'}"])
    return whole, halved


def train(arguments: list[str]) -> None:
    run = TrainingRun(arguments)
    try:
        assert run.wait(seconds=400) == 0, run.tail()
    finally:
        run.end()


def prompts(run_dir: Path, step: int) -> Prompts:
    """What a step trained on: the trajectories and rewards of every prompt, in a fixed order."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read_json_lines(run_dir / "rollouts" / f"{step}.jsonl"):
        rows[row["uid"].split("_")[0]].append(row)
    trained = [(group[0]["input"], [(row["output"], row["score"]) for row in group]) for group in rows.values()]
    return dict(sorted(trained))


def test_no_step_is_trained_twice_and_none_is_skipped(runs: tuple[Path, Path]) -> None:
    whole, halved = runs
    assert logged_steps(whole) == list(range(1, 2 * HALF + 1))
    assert logged_steps(halved) == list(range(HALF + 1, 2 * HALF + 1))


def test_an_epoch_trains_on_every_prompt_once(runs: tuple[Path, Path]) -> None:
    trained = [text for step in range(1, 4) for text in prompts(runs[0], step)]
    assert len(trained) == len(set(trained)) == 3 * PROMPTS


@pytest.mark.parametrize("step", range(HALF + 1, 2 * HALF + 1))
def test_both_runs_train_on_the_same_prompts(runs: tuple[Path, Path], step: int) -> None:
    whole, halved = runs
    assert prompts(whole, step).keys() == prompts(halved, step).keys()


def test_after_the_resumption_the_trees_have_the_same_tokens(runs: tuple[Path, Path]) -> None:
    whole, halved = runs
    assert prompts(whole, HALF + 1) == prompts(halved, HALF + 1)
