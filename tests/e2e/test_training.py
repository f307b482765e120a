"""A training on real verl, vLLM and Ray, with a tiny random model: trains, resumes where it was, and cleans up."""

import shutil
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_stack import DEVICE_OVERRIDES, PRESET, write_tiny_model
from training_run import TrainingRun, logged_steps, read_json_lines, write_sums

from treepo.quickstart.report import read_scalars
from treepo.viewer import read_records

START_SECONDS = 1200.0
WIDTH, PROMPTS, HALF = 4, 4, 2
STEPS = range(1, 2 * HALF + 1)
SUPPORT = Path(__file__).resolve().parents[1] / "support"

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("e2e")
    return [
        *("--config-name", PRESET, *DEVICE_OVERRIDES),
        f"actor_rollout_ref.model.path={write_tiny_model(folder / 'model')}",
        # Three steps' worth: the fourth step reaches into the second epoch.
        f"data.train_files=[{write_sums(folder / 'train.parquet', 3 * PROMPTS, seed=0)}]",
        f"data.val_files=[{write_sums(folder / 'held_out.parquet', 4, seed=1)}]",
        f"run_dir={folder / 'run'}",
        f"data.train_batch_size={PROMPTS}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS}",
        # Large enough that serving the weights of the step before would show.
        "actor_rollout_ref.actor.optim.lr=1e-2",
        # A random model never answers, and equal rewards would leave the weights as they are.
        f"reward.custom_reward_function.path={SUPPORT / 'letter_rewards.py'}",
        f"treepo.width={WIDTH}",
        "treepo.segment_length=16",
        "treepo.max_depth=4",
        "data.max_response_length=64",
        "treepo.dump_trees=1",
        "trainer.save_freq=1",
        "trainer.test_freq=2",
        "trainer.max_actor_ckpt_to_keep=null",
    ]


@pytest.fixture(scope="module")
def run_dir(arguments: list[str]) -> Path:
    return Path(next(word for word in arguments if word.startswith("run_dir=")).removeprefix("run_dir="))


@pytest.fixture(scope="module")
def trained(arguments: list[str]) -> Iterator[TrainingRun]:
    """Four steps, run to the end."""
    run = TrainingRun([*arguments, f"trainer.total_training_steps={2 * HALF}"])
    try:
        assert run.wait(seconds=START_SECONDS) == 0, run.tail()
        yield run
    finally:
        run.end()


Groups = dict[str, list[tuple[list[int], float]]]


def groups(run_dir: Path, step: int) -> Groups:
    """What a step trained on: tokens and rewards of every prompt's trajectories."""
    return {
        record.prompt.text: [
            (trajectory.tokens, scored.reward)
            for trajectory, scored in zip(record.tree().trajectories, record.trajectories, strict=True)
        ]
        for record in read_records(run_dir / "trees" / f"step_{step}.jsonl")
    }


def test_every_step_trains_on_whole_trees(trained: TrainingRun, run_dir: Path) -> None:
    scalars = read_scalars(run_dir / "tensorboard")
    assert logged_steps(run_dir) == list(STEPS)
    assert list(scalars["treepo/trajectories_per_prompt/mean"].values()) == [WIDTH] * len(STEPS)
    assert all(value > 0 for value in scalars["actor/grad_norm"].values())
    generated, contained = scalars["treepo/tokens/generated"], scalars["treepo/tokens/in_trajectories"]
    for step in STEPS:
        assert 0 < generated[step] <= contained[step]
        assert scalars["treepo/tokens/cached"][step] > 0
        # Trees grow in the engine: one request per trajectory, though a trajectory has several segments.
        assert scalars["treepo/requests/submitted_per_prompt"][step] == WIDTH
        assert scalars["treepo/segments/per_prompt"][step] > WIDTH
        # Packing is on by itself where it is exact.
        assert scalars["treepo/packing/packed_tokens"][step] < scalars["treepo/packing/row_tokens"][step]
    assert [len(read_json_lines(run_dir / "validation" / f"{step}.jsonl")) for step in (0, 2, 4)] == [16] * 3


def test_the_librarys_own_warnings_are_shown_once(trained: TrainingRun) -> None:
    # A dependency of vLLM's raises the root logger of the server's process to ERROR.
    words = "treepo.segment_length=16 is no multiple of the KV block of "
    # vLLM's blocks have 32 tokens on CPUs, 16 elsewhere; one server says it once.
    expected = 1 if PRESET == "cpu_quickstart" else 0
    assert len([line for line in trained.output if words in line]) == expected


@pytest.mark.nightly
@pytest.mark.usefixtures("trained")
def test_the_same_command_has_nothing_left_to_train_and_another_run_is_refused(
    arguments: list[str], run_dir: Path
) -> None:
    for words, status, line in (
        ([], 0, f"nothing left to train: {run_dir}/checkpoints/global_step_4 is the checkpoint of step 4"),
        (["treepo.max_divergence=3"], 2, "at step 4, has other options: treepo.max_divergence=2, now 3"),
    ):
        run = TrainingRun([*arguments, f"trainer.total_training_steps={2 * HALF}", *words])
        try:
            assert run.wait(seconds=START_SECONDS) == status, run.tail()
            assert line in run.tail()
        finally:
            run.end()
    assert logged_steps(run_dir) == list(STEPS)


@pytest.mark.usefixtures("trained")
def test_an_epoch_trains_on_every_prompt_once(run_dir: Path) -> None:
    trained_on = [text for step in (1, 2, 3) for text in groups(run_dir, step)]
    assert len(trained_on) == len(set(trained_on)) == 3 * PROMPTS


def test_the_trees_of_a_step_can_be_drawn_again(trained: TrainingRun, run_dir: Path) -> None:
    assert sorted(file.name for file in (run_dir / "trees").iterdir()) == [f"step_{step}.jsonl" for step in STEPS]
    records = list(read_records(run_dir / "trees" / "step_2.jsonl"))
    assert len(records) == (run_dir / "trees" / "step_2.jsonl").read_bytes().count(b"\n") == PROMPTS
    scalars = read_scalars(run_dir / "tensorboard")
    assert sum(sum(len(node.tokens) for node in record.nodes) for record in records) == pytest.approx(
        scalars["treepo/tokens/generated"][2]
    )
    # verl's mean over the tokens of all trajectories, from the log-prob pass before the update.
    shared = [
        (
            sum(node.entropies or ()),
            sum(node.id in leaf.path.node_ids for leaf in record.trajectories),
            len(node.tokens),
        )
        for record in records
        for node in record.nodes
    ]
    mean = sum(entropy * through for entropy, through, _ in shared) / sum(count * length for _, count, length in shared)
    assert mean == pytest.approx(scalars["actor/entropy"][2], rel=1e-3)
    for record in records:
        tree = record.tree()
        assert len(tree.trajectories) == WIDTH
        assert record.step == 2
        assert {node.weight_versions for node in record.nodes} == {(1, 1)}
        assert all(trajectory.advantages is not None for trajectory in record.trajectories)
    assert 0 <= scalars["treepo/advantage/subgroup_share"][2] <= 1
    assert scalars["treepo/length_over_validation"][1] > 0


def test_after_an_update_vllm_serves_the_trainers_weights(trained: TrainingRun, run_dir: Path) -> None:
    def weights(step: int) -> dict[str, torch.Tensor]:
        return load_file(run_dir / f"checkpoints/global_step_{step}/actor/huggingface/model.safetensors")

    first, second = weights(1), weights(2)
    assert max(float((first[name] - second[name]).abs().max()) for name in first) > 1e-3
    # Probabilities under vLLM when the tokens were drawn, against those that the trainer computes again.
    differences = read_scalars(run_dir / "tensorboard")["training/rollout_probs_diff_max"]
    assert all(value < 1e-4 for value in differences.values()), differences


@pytest.fixture(scope="module")
def resumed(trained: TrainingRun, arguments: list[str], run_dir: Path) -> Path:
    """The folder of a run that resumes from a copy of the checkpoint half way; ended by Ctrl-C."""
    folder = run_dir.with_name("resumed")
    shutil.copytree(run_dir / f"checkpoints/global_step_{HALF}", folder / f"checkpoints/global_step_{HALF}")
    (folder / "checkpoints/latest_checkpointed_iteration.txt").write_text(str(HALF))
    run = TrainingRun(
        [*arguments, f"run_dir={folder}", "trainer.total_training_steps=50", "trainer.val_before_train=false"]
    )
    try:
        run.wait_for(f"step:{2 * HALF} - ", seconds=START_SECONDS)
        run.note_family()
        assert len(run.family) > 5, "Ray, its workers and vLLM run"
        run.process.send_signal(signal.SIGINT)
        assert run.wait(seconds=600) == 130, run.tail()
        assert run.survivors(seconds=60) == []
    finally:
        run.end()
    return folder


@pytest.mark.nightly
def test_a_resumed_run_trains_no_step_twice_and_skips_none(resumed: Path) -> None:
    assert logged_steps(resumed)[:HALF] == list(STEPS)[HALF:]


def trained_on(run_dir: Path, steps: Iterable[int]) -> list[tuple[int, str]]:
    """Step and prompt of every tree, step after step; within one by prompt, since trees finish in any order."""
    return [(step, text) for step in steps for text in sorted(groups(run_dir, step))]


@pytest.mark.nightly
def test_before_and_after_the_resumption_it_trains_on_the_prompts_of_the_run_that_was_not_stopped(
    run_dir: Path, resumed: Path
) -> None:
    # The last step is in the second epoch. tests/contract/trainer/test_data_order.py stops at an epoch's very end.
    whole = trained_on(run_dir, STEPS)
    assert [step for step, _ in whole] == [step for step in STEPS for _ in range(PROMPTS)]
    assert trained_on(run_dir, STEPS[:HALF]) + trained_on(resumed, STEPS[HALF:]) == whole


@pytest.mark.nightly
def test_after_the_resumption_the_trees_have_the_same_tokens(run_dir: Path, resumed: Path) -> None:
    assert groups(run_dir, HALF + 1) == groups(resumed, HALF + 1)


@pytest.mark.nightly
def test_a_killed_run_leaves_no_process(arguments: list[str], tmp_path: Path) -> None:
    run = TrainingRun([*arguments, f"run_dir={tmp_path / 'killed'}", "trainer.total_training_steps=50"])
    try:
        run.wait_for("all initialize finished", seconds=START_SECONDS)
        run.note_family()
        assert len(run.family) > 5, "Ray, its workers and vLLM run"
        run.process.kill()
        # Ray's own agents notice that their node is gone after about a minute.
        assert run.survivors(seconds=600) == []
    finally:
        run.end()


@pytest.mark.nightly
def test_a_rollout_engine_that_dies_ends_the_run_in_one_line(arguments: list[str], tmp_path: Path) -> None:
    run = TrainingRun([*arguments, f"run_dir={tmp_path / 'dying'}", "trainer.total_training_steps=500"])
    try:
        run.wait_for("step:1 - ", seconds=START_SECONDS)
        run.note_family()
        engines = [process for process in run.family.values() if process.name().startswith("VLLM::EngineCor")]
        assert len(engines) == 1
        engines[0].kill()
        assert run.wait(seconds=600) == 1, run.tail()
        # Where it dies is chance: in mid-tree, or when it is to take new weights.
        text = "".join(run.output)
        assert "EngineDeadError" in text
        assert "error: training failed; the cause is printed above, logs are in" in text
        assert run.survivors(seconds=60) == []
    finally:
        run.end()
