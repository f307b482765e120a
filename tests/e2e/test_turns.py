"""A training on trees of turns with a user's environment, on real verl, vLLM and Ray with a tiny model."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from talk_environment import letters
from talkative_model import write_talkative_model
from tiny_stack import DEVICE_OVERRIDES, PRESET
from training_run import ROOT, TrainingRun, read_json_lines, write_sums
from transformers import AutoTokenizer

from treepo.quickstart.report import read_scalars
from treepo.tree import FinishReason
from treepo.viewer import TreeRecord, read_records, shown_tree
from treepo.viewer.schema import TrajectoryRecord

WIDTH, PROMPTS, STEPS = 4, 4, 2
TALKS = ROOT / "tests/support/talks"

pytestmark = [pytest.mark.timeout(1800), pytest.mark.nightly]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two steps, with validations before and after."""
    folder = tmp_path_factory.mktemp("turns")
    run = TrainingRun(
        [
            *("--preset", PRESET, *DEVICE_OVERRIDES),
            f"actor_rollout_ref.model.path={write_talkative_model(folder / 'model')}",
            f"data.train_files=[{write_sums(folder / 'train.parquet', STEPS * PROMPTS, seed=0)}]",
            f"data.val_files=[{write_sums(folder / 'held_out.parquet', 2, seed=1)}]",
            f"run_dir={folder / 'run'}",
            f"data.train_batch_size={PROMPTS}",
            f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS}",
            f"reward.custom_reward_function.path={TALKS / 'talk_reward.py'}",
            "treepo.environment.name=talk_environment:LetterCount",
            f"treepo.width={WIDTH}",
            "treepo.initial_divergence=[1,2]",
            "treepo.segment_length=12",
            "treepo.max_depth=6",
            "data.max_response_length=160",
            "treepo.dump_trees=1",
            "trainer.test_freq=2",
            "trainer.save_freq=-1",
            f"trainer.total_training_steps={STEPS}",
        ],
        # The workers import the environment by its name.
        PYTHONPATH=os.pathsep.join([str(TALKS), str(ROOT)]),
    )
    try:
        assert run.wait(seconds=1200) == 0, run.tail()
        yield folder / "run"
    finally:
        run.end()


@pytest.fixture(scope="module")
def records(run_dir: Path) -> list[TreeRecord]:
    return [record for step in range(1, STEPS + 1) for record in read_records(run_dir / "trees" / f"step_{step}.jsonl")]


@pytest.fixture(scope="module")
def tokenizer(run_dir: Path) -> Any:
    return AutoTokenizer.from_pretrained(run_dir.parent / "model")


def talk(record: TreeRecord, trajectory: TrajectoryRecord, tokenizer: Any) -> list[tuple[str, str | None]]:
    """The turns of a trajectory, as the environment reads them, and what was told behind each."""
    nodes = {node.id: node for node in record.nodes}
    turns, written = [], []
    for node in (nodes[node] for node in trajectory.path.node_ids):
        written += node.tokens[: node.written]
        if node.observed:
            turns.append(
                (tokenizer.decode(written, skip_special_tokens=True), tokenizer.decode(node.tokens[node.written :]))
            )
            written = []
    return [*turns, (tokenizer.decode(written, skip_special_tokens=True), None)]


def test_every_observation_is_what_the_turns_before_it_lead_to(records: list[TreeRecord], tokenizer: Any) -> None:
    assert len(records) == STEPS * PROMPTS
    answered = 0
    for record in records:
        assert len(record.trajectories) == WIDTH
        nodes = {node.id: node for node in record.nodes}
        for trajectory in record.trajectories:
            count = 0
            for said, told in talk(record, trajectory, tokenizer):
                count += letters(said)
                if told is not None:
                    answered += 1
                    assert told == f"\n<|im_start|>user\n{count} letters<|im_end|>\n<|im_start|>assistant\n"
            for node in (nodes[node] for node in trajectory.path.node_ids):
                assert set(node.log_probs[node.written :]) <= {0.0}
            assert nodes[trajectory.path.node_ids[-1]].observed == 0
    assert answered > len(records)


def test_the_reward_is_told_of_the_turns(records: list[TreeRecord], tokenizer: Any) -> None:
    for record in records:
        for trajectory in record.trajectories:
            turns = talk(record, trajectory, tokenizer)
            told = trajectory.reward_extra
            assert told["turns"] == len(turns)
            assert told["final_turn"] == turns[-1][0]
            # The last turn has none where its environment was not asked any more; an answer may find no room.
            last = {None, float(len(turns))} if trajectory.reason is FinishReason.MAX_TOKENS else {None}
            before = [float(number) for number in range(1, len(turns))]
            assert told["turn_rewards"] in [str([*before, reward]) for reward in last]


def test_updates_and_metrics_count_what_the_model_wrote(run_dir: Path, records: list[TreeRecord]) -> None:
    scalars = read_scalars(run_dir / "tensorboard")
    # Observed tokens have log-prob 0, and would differ by their whole probability.
    assert all(value < 1e-4 for value in scalars["training/rollout_probs_diff_max"].values())
    assert all(value > 0 for value in scalars["actor/grad_norm"].values())
    for step in range(1, STEPS + 1):
        trees = [record for record in records if record.step == step]
        written = sum(node.written for record in trees for node in record.nodes)
        assert scalars["treepo/tokens/generated"][step] == written
        observed = sum(node.observed for record in trees for node in record.nodes)
        assert scalars["treepo/turns/observed_tokens"][step] == observed > 0
        assert scalars["treepo/turns/per_trajectory/mean"][step] > 1
        assert scalars["treepo/turns/failed"][step] == 0
        assert scalars["treepo/turns/steps_saved"][step] > 0
        assert scalars["treepo/packing/packed_tokens"][step] < scalars["treepo/packing/row_tokens"][step]


def test_validation_talks_with_the_environment_too(run_dir: Path) -> None:
    for step in (0, STEPS):
        rows = read_json_lines(run_dir / "validation" / f"{step}.jsonl")
        assert len(rows) == 2 * 4
        assert any(" letters" in row["output"] for row in rows)


def test_the_page_tells_apart_who_wrote_what(records: list[TreeRecord]) -> None:
    tree = shown_tree(records[0])
    assert any(node.observed for node in tree.nodes)
    for shown, kept in zip(tree.nodes, records[0].nodes, strict=True):
        assert shown.observed == len(kept.tokens) - kept.written
