"""Trees on dedicated servers: real verl, vLLM and Ray, with a tiny random model; new weights travel over gloo."""

from pathlib import Path

import pytest
from tiny_stack import write_tiny_model
from training_run import TrainingRun, logged_steps, read_json_lines, write_sums

from treepo.quickstart.report import read_scalars

WIDTH, PROMPTS, STEPS = 4, 4, 4
SUPPORT = Path(__file__).resolve().parents[1] / "support"

pytestmark = [pytest.mark.timeout(3600), pytest.mark.nightly]


def train(folder: Path, *overrides: str, steps: int) -> list[str]:
    """Trains to a step, from the last checkpoint where there is one; the lines that it printed."""
    run = TrainingRun(
        [
            *("--preset", "cpu_quickstart"),
            "trainer.v1.trainer_mode=separate_async",
            "actor_rollout_ref.rollout.checkpoint_engine.backend=gloo",
            "actor_rollout_ref.rollout.nnodes=1",
            *overrides,
            "treepo.rollout.seeded_requests=false",
            "treepo.dump_trees=1",
            f"actor_rollout_ref.model.path={folder / 'model'}",
            f"data.train_files=[{folder / 'train.parquet'}]",
            f"data.val_files=[{folder / 'held_out.parquet'}]",
            f"run_dir={folder / 'run'}",
            f"data.train_batch_size={PROMPTS}",
            "actor_rollout_ref.actor.optim.lr=1e-3",
            f"reward.custom_reward_function.path={SUPPORT / 'letter_rewards.py'}",
            f"treepo.width={WIDTH}",
            "treepo.segment_length=16",
            f"trainer.total_training_steps={steps}",
            "trainer.val_before_train=false",
            "trainer.test_freq=2",
        ]
    )
    try:
        assert run.wait(seconds=1800) == 0, run.tail()
    finally:
        run.end()
    return run.output


def prepare(folder: Path) -> Path:
    write_tiny_model(folder / "model")
    write_sums(folder / "train.parquet", 64, seed=0)
    write_sums(folder / "held_out.parquet", 4, seed=1)
    return folder


@pytest.fixture(scope="module")
def lent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A server of its own, and the trainer's, which is lent to the rollout and taken away; stopped and resumed."""
    folder = prepare(tmp_path_factory.mktemp("lent"))
    options = [
        "actor_rollout_ref.rollout.n_gpus_per_node=1",
        "ray_kwargs.ray_init.num_gpus=2",
        "treepo.rollout.backend=in_engine",
        # More trees than a step takes, and sequence slots for one and a half on a server: they do not end together.
        "trainer.v1.separate_async.num_warmup_batches=1",
        "actor_rollout_ref.rollout.max_num_seqs=6",
        "treepo.max_depth=8",
        "data.max_response_length=128",
        "trainer.v1.separate_async.hybrid_rollout.enable_switch=true",
        # Two updates a step.
        "trainer.v1.separate_async.parameter_sync_step=2",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS // 2}",
        "algorithm.rollout_correction.bypass_mode=true",
    ]
    train(folder, *options, steps=STEPS // 2)
    return folder / "run", train(folder, *options, steps=STEPS)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dedicated servers and none on the trainer's; every tree grows under the newest weights."""
    folder = prepare(tmp_path_factory.mktemp("apart"))
    train(
        folder,
        "actor_rollout_ref.rollout.n_gpus_per_node=2",
        "ray_kwargs.ray_init.num_gpus=3",
        "actor_rollout_ref.hybrid_engine=false",
        "treepo.rollout.backend=portable",
        "trainer.v1.separate_async.num_warmup_batches=0",
        "actor_rollout_ref.rollout.max_num_seqs=4",
        "treepo.max_depth=4",
        "data.max_response_length=64",
        "trainer.v1.separate_async.parameter_sync_step=1",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS}",
        "trainer.save_freq=-1",
        steps=STEPS,
    )
    return folder / "run"


def check_whole_trees(run_dir: Path) -> None:
    """Every step has trained on as many trees as it takes, all whole, and on none of an earlier step."""
    scalars = read_scalars(run_dir / "tensorboard")
    assert logged_steps(run_dir) == list(range(1, STEPS + 1))
    assert list(scalars["treepo/trajectories_per_prompt/mean"].values()) == [WIDTH] * STEPS
    assert set(scalars["treepo/prompts_failed"].values()) == {0}
    assert all(value > 0 for value in scalars["actor/grad_norm"].values())
    trees = [read_json_lines(run_dir / "trees" / f"step_{step}.jsonl") for step in range(1, STEPS + 1)]
    assert [len(step) for step in trees] == [PROMPTS] * STEPS
    assert len({tree["prompt"]["uid"] for step in trees for tree in step}) == PROMPTS * STEPS
    assert all(len(tree["trajectories"]) == WIDTH for step in trees for tree in step)


def test_trees_of_a_server_that_is_taken_away_grow_elsewhere_and_none_is_lost_or_trained_twice(
    lent: tuple[Path, list[str]],
) -> None:
    run_dir, _ = lent
    check_whole_trees(run_dir)
    scalars = read_scalars(run_dir / "tensorboard")
    # Taken away as soon as half a batch is there.
    assert all(scalars["timing_s/switch_to_trainer"][begun] > 0 for begun in (1, 1 + STEPS // 2))
    # A tree was in mid-growth there, and the next step trained on what it became elsewhere.
    assert scalars["treepo/tokens/discarded"][2] > 0
    # Lent again for the validation.
    assert set(scalars["treepo/validation/response_length/mean"]) == {2, 4}


def test_trees_outlive_an_update_and_count_versions_in_steps(lent: tuple[Path, list[str]]) -> None:
    scalars = read_scalars(lent[0] / "tensorboard")
    assert max(scalars["training/off_policy/trajectory_spans/max"].values()) > 1
    assert min(scalars["training/off_policy/trajectory_staleness/min"].values()) >= 0
    # A step is two updates and one version; trees of a start begin under its first.
    versions = {
        version
        for step in range(1, STEPS + 1)
        for tree in read_json_lines(lent[0] / "trees" / f"step_{step}.jsonl")
        for node in tree["nodes"]
        for version in node["weight_versions"]
    }
    assert {0, STEPS // 2} <= versions <= set(range(STEPS))


def test_a_resumed_training_begins_the_trees_in_flight_anew(lent: tuple[Path, list[str]]) -> None:
    lines = [line for line in lent[1] if "in-flight prompts for step" in line]
    assert len(lines) == 1
    assert f"for step {1 + STEPS // 2};" in lines[0]


def test_servers_of_their_own_alone_have_the_weights_of_the_last_update(apart: Path) -> None:
    check_whole_trees(apart)
    scalars = read_scalars(apart / "tensorboard")
    assert max(scalars["training/off_policy/trajectory_staleness_worst/max"].values()) == 0
    # One update moves the probabilities of these tokens by up to 1.5e-3.
    assert max(scalars["training/rollout_probs_diff_max"].values()) < 1e-6
    assert set(scalars["training/rollout_probs_diff_valid"].values()) == {1}
