"""The same training with packed trees and row by row, on real verl, vLLM and Ray: same rows, same losses."""

from pathlib import Path

import pytest
from tiny_stack import DEVICE_OVERRIDES, PRESET, write_tiny_model
from training_run import TrainingRun, logged_steps, write_sums

from treepo.quickstart.report import read_scalars
from treepo.viewer import read_records

START_SECONDS = 1200.0
SUPPORT = Path(__file__).resolve().parents[1] / "support"
STEPS = (1, 2)
# What a step's forward and backward passes come to; verl's loss itself is 0 where old and new weights are the same.
COMPARED = ("actor/loss", "actor/grad_norm", "actor/entropy", "actor/entropy_loss", "actor/kl_loss")

pytestmark = [pytest.mark.timeout(3600), pytest.mark.nightly]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The folders of two runs of two steps, by whether their trees were packed."""
    folder = tmp_path_factory.mktemp("packing")
    model = write_tiny_model(folder / "model")
    table = write_sums(folder / "train.parquet", 8, seed=0)
    found = {}
    for packed in (True, False):
        run = TrainingRun(
            [
                *("--config-name", PRESET, *DEVICE_OVERRIDES),
                f"actor_rollout_ref.model.path={model}",
                f"data.train_files=[{table}]",
                f"data.val_files=[{table}]",
                f"run_dir={folder / str(packed)}",
                f"treepo.packing.enabled={str(packed).lower()}",
                "data.train_batch_size=4",
                "actor_rollout_ref.actor.ppo_mini_batch_size=4",
                # Several micro-batches, of which a tree does not always fill one; a reference model and an entropy.
                "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=300",
                "actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu=300",
                "actor_rollout_ref.ref.log_prob_max_token_len_per_gpu=300",
                "actor_rollout_ref.actor.use_kl_loss=true",
                # verl's default is bfloat16, whose noise would be all that the first step's KL term consists of.
                "+actor_rollout_ref.ref.fsdp_config.mixed_precision={param_dtype:fp32,reduce_dtype:fp32,buffer_dtype:fp32}",
                "actor_rollout_ref.actor.entropy_coeff=0.01",
                f"reward.custom_reward_function.path={SUPPORT / 'letter_rewards.py'}",
                "treepo.width=4",
                "treepo.segment_length=16",
                "treepo.max_depth=4",
                "data.max_response_length=64",
                "treepo.dump_trees=1",
                "trainer.total_training_steps=2",
                "trainer.val_before_train=false",
                "trainer.test_freq=-1",
                "trainer.save_freq=-1",
            ]
        )
        try:
            assert run.wait(seconds=START_SECONDS) == 0, run.tail()
        finally:
            run.end()
        found[packed] = folder / str(packed)
    return found


def rows(run_dir: Path, step: int) -> list[tuple[str, list[list[int]]]]:
    records = read_records(run_dir / "trees" / f"step_{step}.jsonl")
    return sorted(
        (record.prompt.text, [list(trajectory.tokens) for trajectory in record.tree().trajectories])
        for record in records
    )


def test_both_train_on_the_same_rows(runs: dict[bool, Path]) -> None:
    assert logged_steps(runs[True]) == logged_steps(runs[False]) == list(STEPS)
    for step in STEPS:
        assert rows(runs[True], step) == rows(runs[False], step)


@pytest.mark.parametrize("name", COMPARED)
def test_losses_gradients_and_entropies_agree_step_by_step(runs: dict[bool, Path], name: str) -> None:
    packed, plain = (read_scalars(runs[how] / "tensorboard")[name] for how in (True, False))
    for step in STEPS:
        assert packed[step] == pytest.approx(plain[step], rel=1e-4, abs=1e-7)


def test_shared_tokens_were_computed_once_and_the_log_probs_are_those_of_the_rollout(runs: dict[bool, Path]) -> None:
    packed, plain = (read_scalars(runs[how] / "tensorboard") for how in (True, False))
    assert not [name for name in plain if name.startswith("treepo/packing/")]
    for step in STEPS:
        assert 0 < packed["treepo/packing/token_ratio"][step] < 0.9
        assert packed["treepo/packing/batches"][step] >= 2
        assert packed["training/rollout_probs_diff_max"][step] < 1e-4
