"""verl's own trainer, started by verl's own command, knows what TreePO adds where it is installed."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed_plugin import install_metadata
from omegaconf import OmegaConf, open_dict
from tiny_stack import compose_tiny, write_tiny_model
from training_run import TrainingRun, write_sums

from treepo.quickstart.report import read_scalars

STEPS, PROMPTS, WIDTH = 2, 4, 4
SUPPORT = Path(__file__).resolve().parents[1] / "support"

pytestmark = pytest.mark.timeout(600)


class PlainRun(TrainingRun):
    command = (sys.executable, "-m", "verl.trainer.main_ppo")


@pytest.fixture(scope="module")
def scalars(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[int, float]]]:
    """The metrics of a training with TreePO's estimator and engine, and without its trainer, trees or launcher."""
    folder = tmp_path_factory.mktemp("plain")
    config = compose_tiny(
        write_tiny_model(folder / "model"),
        [
            f"data.train_files=[{write_sums(folder / 'train.parquet', STEPS * PROMPTS, seed=0)}]",
            f"data.val_files=[{write_sums(folder / 'held_out.parquet', 4, seed=1)}]",
            f"data.train_batch_size={PROMPTS}",
            f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS}",
            f"reward.custom_reward_function.path={SUPPORT / 'dense_reward.py'}",
            *(f"treepo.width={WIDTH}", "data.max_response_length=64", f"run_dir={folder / 'run'}"),
            *("trainer.save_freq=-1", "trainer.test_freq=-1", "trainer.val_before_train=false"),
            *(f"trainer.total_training_steps={STEPS}", "+actor_rollout_ref.model.model_type=treepo_packed"),
        ],
    )
    assert config.algorithm.adv_estimator == "treepo"
    # What is left is verl's.
    with open_dict(config):
        del config.treepo, config.run_dir
        config.actor_rollout_ref.rollout.agent.agent_loop_manager_class = None
    OmegaConf.save(config, folder / "plain.yaml")
    environment = {name: str(value) for name, value in config.ray_kwargs.ray_init.runtime_env.env_vars.items()}
    run = PlainRun(
        [f"--config-path={folder}", "--config-name=plain", f"hydra.run.dir={folder / 'hydra'}"],
        **environment,
        PYTHONPATH=install_metadata(folder / "installed"),
    )
    try:
        assert run.wait(seconds=480) == 0, run.tail()
        yield read_scalars(folder / "run/tensorboard")
    finally:
        run.end()


def test_the_estimator_trains_on_independent_samples(scalars: dict[str, dict[int, float]]) -> None:
    assert list(scalars["training/global_step"].values()) == [*range(1, STEPS + 1)]
    assert all(value > 0 for value in scalars["actor/grad_norm"].values())
    # Whitened over the tokens of the batch, which verl's GRPO does not do.
    assert all(value == pytest.approx(0, abs=1e-4) for value in scalars["critic/advantages/mean"].values())


def test_the_engine_computes_the_prompts_once(scalars: dict[str, dict[int, float]]) -> None:
    packed, rows = scalars["actor/packing/packed_tokens"], scalars["actor/packing/row_tokens"]
    assert len(packed) == STEPS
    assert all(packed[step] < rows[step] for step in packed)
