"""Trees with the trainer that interrupts the rollout: real verl, vLLM and Ray, with a tiny random model."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_stack import write_tiny_model
from training_run import TrainingRun, logged_steps, write_sums

from treepo.quickstart.report import read_scalars

WIDTH, PROMPTS, STEPS = 4, 4, 4
SUPPORT = Path(__file__).resolve().parents[1] / "support"

pytestmark = [pytest.mark.timeout(3600), pytest.mark.nightly]


@pytest.fixture(scope="module", params=["in_engine", "portable"])
def run_dir(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("async")
    run = TrainingRun(
        [
            *("--config-name", "cpu_quickstart"),
            "trainer.v1.trainer_mode=colocate_async",
            # More trees than a step takes, and too few sequence slots to end them together: updates interrupt some.
            "trainer.v1.colocate_async.num_warmup_batches=2",
            "actor_rollout_ref.rollout.max_num_seqs=4",
            "algorithm.rollout_correction.bypass_mode=true",
            f"treepo.rollout.backend={request.param}",
            "treepo.rollout.seeded_requests=false",
            f"actor_rollout_ref.model.path={write_tiny_model(folder / 'model')}",
            f"data.train_files=[{write_sums(folder / 'train.parquet', 64, seed=0)}]",
            f"data.val_files=[{write_sums(folder / 'held_out.parquet', 4, seed=1)}]",
            f"run_dir={folder / 'run'}",
            f"data.train_batch_size={PROMPTS}",
            f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS}",
            "actor_rollout_ref.actor.optim.lr=1e-3",
            f"reward.custom_reward_function.path={SUPPORT / 'letter_rewards.py'}",
            f"treepo.width={WIDTH}",
            "treepo.segment_length=16",
            "treepo.max_depth=4",
            "data.max_response_length=64",
            f"trainer.total_training_steps={STEPS}",
            "trainer.val_before_train=false",
            "trainer.test_freq=-1",
            "trainer.save_freq=-1",
        ]
    )
    try:
        assert run.wait(seconds=1800) == 0, run.tail()
        yield folder / "run"
    finally:
        run.end()


def test_every_step_trains_on_whole_trees(run_dir: Path) -> None:
    scalars = read_scalars(run_dir / "tensorboard")
    assert logged_steps(run_dir) == list(range(1, STEPS + 1))
    assert list(scalars["treepo/trajectories_per_prompt/mean"].values()) == [WIDTH] * STEPS
    assert set(scalars["treepo/prompts_failed"].values()) == {0}
    assert all(value > 0 for value in scalars["actor/grad_norm"].values())


def test_trees_outlive_an_update_and_say_which_weights_they_span(run_dir: Path) -> None:
    scalars = read_scalars(run_dir / "tensorboard")
    assert max(scalars["training/off_policy/trajectory_spans/max"].values()) > 1
    assert max(scalars["training/off_policy/trajectory_staleness_worst/max"].values()) >= 1
    # A step's own weights are the newest that a trajectory can have met.
    assert min(scalars["training/off_policy/trajectory_staleness/min"].values()) >= 0
