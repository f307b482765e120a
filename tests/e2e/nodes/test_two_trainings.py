"""Two trainings side by side on one machine, ours and verl's own by verl's own command.

They keep their weights apart, and verl's own trainer knows what TreePO adds where it is installed.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from installed import install_metadata
from omegaconf import OmegaConf, open_dict
from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator
from tiny_stack import DEVICE_OVERRIDES, PRESET, compose_tiny, write_tiny_model
from training_run import TrainingRun, write_sums

from treepo.quickstart.report import read_scalars

STEPS, PROMPTS, WIDTH = 3, 4, 4
SUPPORT = Path(__file__).resolve().parents[2] / "support"
REWARD = "reward.custom_reward_function"
# Of one model, trained apart so fast that the weights of one would show in the log-probs of the other.
SLOW, FAST = "actor_rollout_ref.actor.optim.lr=1e-3", "actor_rollout_ref.actor.optim.lr=1e-2"

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.nightly,
    pytest.mark.skipif(PRESET != "cpu_quickstart", reason="two trainings on accelerators need accelerators apart"),
]


class PlainRun(TrainingRun):
    command = (sys.executable, "-m", "verl.trainer.main_ppo")


@dataclass(frozen=True)
class Pair:
    """The TensorBoard folders of a training of ours and of the one beside it, and whether that is verl's own."""

    ours: Path
    other: Path
    plain: bool


@pytest.fixture(scope="module", params=["verl", "treepo"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("two")
    model, plain = write_tiny_model(folder / "model"), request.param == "verl"
    (folder / "meeting").mkdir()
    overrides = [
        f"data.train_files=[{write_sums(folder / 'train.parquet', STEPS * PROMPTS, seed=0)}]",
        f"data.val_files=[{write_sums(folder / 'held_out.parquet', 4, seed=1)}]",
        f"data.train_batch_size={PROMPTS}",
        f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS}",
        *(f"{REWARD}.path={SUPPORT / 'letter_rewards.py'}", f"{REWARD}.name=meeting_score"),
        f"+{REWARD}.reward_kwargs.meeting={folder / 'meeting'}",
        f"+{REWARD}.reward_kwargs.calls_per_step={PROMPTS * WIDTH}",
        *(f"treepo.width={WIDTH}", "treepo.segment_length=16", "treepo.max_depth=4", "data.max_response_length=64"),
        *("trainer.save_freq=-1", "trainer.test_freq=-1", "trainer.val_before_train=false"),
        f"trainer.total_training_steps={STEPS}",
    ]

    def named(name: str) -> list[str]:
        (folder / "meeting" / name).touch()
        return [f"run_dir={folder / name}", f"+{REWARD}.reward_kwargs.name={name}"]

    def start(*words: str) -> TrainingRun:
        preset = ("--config-name", PRESET, *DEVICE_OVERRIDES, f"actor_rollout_ref.model.path={model}")
        return TrainingRun([*preset, *overrides, *words])

    def start_plain(*words: str) -> TrainingRun:
        config = compose_tiny(model, [*overrides, *words, "+actor_rollout_ref.model.model_type=treepo_packed"])
        assert config.algorithm.adv_estimator == "treepo"
        # What is left is verl's.
        with open_dict(config):
            del config.treepo, config.run_dir
            config.actor_rollout_ref.rollout.agent.agent_loop_manager_class = None
        OmegaConf.save(config, folder / "plain.yaml")
        environment = {name: str(value) for name, value in config.ray_kwargs.ray_init.runtime_env.env_vars.items()}
        return PlainRun(
            [f"--config-path={folder}", "--config-name=plain", f"hydra.run.dir={folder / 'hydra'}"],
            **environment,
            PYTHONPATH=install_metadata(folder / "installed"),
        )

    ours, other = named("ours"), named("other")
    runs = [start(*ours, SLOW), (start_plain if plain else start)(*other, FAST)]
    try:
        for run in runs:
            assert run.wait(seconds=1500) == 0, run.tail()
        yield Pair(folder / "ours/tensorboard", folder / "other/tensorboard", plain)
    finally:
        for run in runs:
            run.end()


def step_times(events: Path) -> list[float]:
    read = EventAccumulator(str(events), size_guidance={SCALARS: 0}).Reload()
    return [event.wall_time for event in read.Scalars("training/global_step")]


def test_both_train_to_the_end_at_the_same_time(pair: Pair) -> None:
    ours, other = step_times(pair.ours), step_times(pair.other)
    assert len(ours) == len(other) == STEPS
    # Their reward enters no step alone: every step's weights were sent while the other run stood in the same step.
    assert max(ours[0], other[0]) < min(ours[-1], other[-1])


def test_each_serves_its_own_weights(pair: Pair) -> None:
    for events in (pair.ours, pair.other):
        scalars = read_scalars(events)
        assert all(value > 0 for value in scalars["actor/grad_norm"].values())
        differences = scalars["training/rollout_probs_diff_max"]
        assert len(differences) == STEPS
        assert all(value < 1e-4 for value in differences.values()), differences


def test_the_two_had_different_weights(pair: Pair) -> None:
    ours, other = (read_scalars(events)["actor/entropy"] for events in (pair.ours, pair.other))
    assert abs(ours[STEPS] - other[STEPS]) > 1e-3


def test_the_estimator_and_the_packed_engine_train_on_independent_samples_in_verls_own_trainer(pair: Pair) -> None:
    if not pair.plain:
        pytest.skip("the other one is ours as well")
    scalars = read_scalars(pair.other)
    # Whitened over the tokens of the batch, which verl's GRPO does not do.
    assert all(value == pytest.approx(0, abs=1e-4) for value in scalars["critic/advantages/mean"].values())
    packed, rows = scalars["actor/packing/packed_tokens"], scalars["actor/packing/row_tokens"]
    assert len(packed) == STEPS
    assert all(packed[step] < rows[step] for step in packed)
