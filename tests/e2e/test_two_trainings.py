"""Two trainings side by side on one machine, each with a Ray cluster of its own, keep their weights apart."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator
from tiny_stack import DEVICE_OVERRIDES, PRESET, write_tiny_model
from training_run import TrainingRun, write_sums

from treepo.quickstart.report import read_scalars

STEPS = 3
PROMPTS = 4
WIDTH = 4
SUPPORT = Path(__file__).resolve().parents[1] / "support"
# Of one model, trained apart so fast that the weights of one would show in the log-probs of the other.
LEARNING_RATES = {"slow": "1e-3", "fast": "1e-2"}

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(PRESET != "cpu_quickstart", reason="two trainings on accelerators need accelerators apart"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """The folders of two runs that were started together."""
    folder = tmp_path_factory.mktemp("two")
    meeting = folder / "meeting"
    meeting.mkdir()
    for name in LEARNING_RATES:
        (meeting / name).touch()
    reward = "reward.custom_reward_function"
    arguments = [
        *("--config-name", PRESET, *DEVICE_OVERRIDES),
        f"actor_rollout_ref.model.path={write_tiny_model(folder / 'model')}",
        f"data.train_files=[{write_sums(folder / 'train.parquet', STEPS * PROMPTS, seed=0)}]",
        f"data.val_files=[{write_sums(folder / 'held_out.parquet', 4, seed=1)}]",
        f"data.train_batch_size={PROMPTS}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS}",
        f"{reward}.path={SUPPORT / 'meeting_reward.py'}",
        *(f"+{reward}.reward_kwargs.meeting={meeting}", f"+{reward}.reward_kwargs.calls_per_step={PROMPTS * WIDTH}"),
        *(f"treepo.width={WIDTH}", "treepo.segment_length=16", "treepo.max_depth=4", "data.max_response_length=64"),
        *("trainer.save_freq=-1", "trainer.test_freq=-1", "trainer.val_before_train=false"),
        f"trainer.total_training_steps={STEPS}",
    ]
    runs = {
        name: TrainingRun(
            [
                *arguments,
                *(f"run_dir={folder / name}", f"actor_rollout_ref.actor.optim.lr={rate}"),
                f"+{reward}.reward_kwargs.name={name}",
            ],
            PYTHONPATH=str(SUPPORT),
        )
        for name, rate in LEARNING_RATES.items()
    }
    try:
        for run in runs.values():
            assert run.wait(seconds=420) == 0, run.tail()
        yield {name: folder / name for name in runs}
    finally:
        for run in runs.values():
            run.end()


def step_times(run_dir: Path) -> list[float]:
    events = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={SCALARS: 0}).Reload()
    return [event.wall_time for event in events.Scalars("training/global_step")]


def test_both_train_to_the_end_at_the_same_time(trained: dict[str, Path]) -> None:
    slow, fast = (step_times(run_dir) for run_dir in trained.values())
    assert len(slow) == len(fast) == STEPS
    # Their reward enters no step alone: every step's weights were sent while the other run stood in the same step.
    assert max(slow[0], fast[0]) < min(slow[-1], fast[-1])


@pytest.mark.parametrize("name", LEARNING_RATES)
def test_each_serves_its_own_weights(trained: dict[str, Path], name: str) -> None:
    scalars = read_scalars(trained[name] / "tensorboard")
    assert all(value > 0 for value in scalars["actor/grad_norm"].values())
    differences = scalars["training/rollout_probs_diff_max"]
    assert len(differences) == STEPS
    assert all(value < 1e-4 for value in differences.values()), differences


def test_the_two_had_different_weights(trained: dict[str, Path]) -> None:
    slow, fast = (read_scalars(run_dir / "tensorboard")["actor/entropy"] for run_dir in trained.values())
    assert abs(slow[STEPS] - fast[STEPS]) > 1e-3
