"""The published run's preset on real verl, vLLM and Ray, with all its parts but the size: DAPO with trees.

Trained by the command of the installed wheel, in a folder that is not the checkout.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from installed import build_wheel, install_wheel
from letter_rewards import HOPELESS, coin, letter_share
from omegaconf import OmegaConf
from tiny_stack import write_tiny_model
from training_run import TrainingRun, read_json_lines, write_sums

from treepo.config.load import CONFIG_DIR, compose
from treepo.quickstart.report import read_scalars

PROMPTS, WIDTH, STEPS = 4, 6, 2
LONGEST, BUFFER = 64, 16
SUPPORT = Path(__file__).resolve().parents[1] / "support"

LOSS = ("clip_ratio_low", "clip_ratio_high", "clip_ratio_c", "loss_agg_mode", "use_kl_loss", "entropy_coeff")

pytestmark = [pytest.mark.timeout(3600), pytest.mark.nightly]


def write_small_preset(folder: Path) -> None:
    """The published preset with the CPU preset's platform and sizes, and nothing else of it."""
    small = OmegaConf.load(CONFIG_DIR / "cpu_quickstart.yaml")
    for option in LOSS:
        del small.actor_rollout_ref.actor[option]
    del small.actor_rollout_ref.actor.optim
    small.defaults = ["qwen2_5_7b", {"device": "cpu"}, "_self_"]
    OmegaConf.save(small, folder / "small_dapo.yaml")


def write_data(path: Path) -> Path:
    """Sums, every second one of which no answer solves."""
    table = datasets.Dataset.from_parquet(str(write_sums(path, 64, seed=0)))

    def spoil(row: dict[str, Any], index: int) -> dict[str, Any]:
        answer = HOPELESS if index % 2 else row["reward_model"]["ground_truth"]
        return {"reward_model": {"style": "rule", "ground_truth": answer}}

    table.map(spoil, with_indices=True).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("dapo")
    write_small_preset(folder)
    (folder / "wheel").mkdir()
    commands = install_wheel(build_wheel(folder / "wheel"), folder / "environment")
    empty = folder / "empty"
    empty.mkdir()

    class InstalledRun(TrainingRun):
        command = (str(commands / "treepo"), "train")
        folder = empty

    run = InstalledRun(
        [
            *("--config-dir", str(folder), "--preset", "small_dapo"),
            f"actor_rollout_ref.model.path={write_tiny_model(folder / 'model')}",
            f"data.train_files=[{write_data(folder / 'train.parquet')}]",
            f"data.val_files=[{write_sums(folder / 'held_out.parquet', 4, seed=1)}]",
            f"run_dir={folder / 'run'}",
            f"reward.custom_reward_function.path={SUPPORT / 'letter_rewards.py'}",
            "reward.custom_reward_function.name=coin_score",
            f"data.train_batch_size={PROMPTS}",
            f"data.max_response_length={LONGEST}",
            f"reward.reward_kwargs.overlong_buffer_cfg.len={BUFFER}",
            # Two updates per step: only the second one's policy differs from the one that is clipped against.
            f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS // 2}",
            "actor_rollout_ref.actor.optim.lr=1e-2",
            "actor_rollout_ref.actor.optim.lr_warmup_steps=0",
            # Groups of unequal size: as many trajectories as fit into the tokens.
            f"treepo.width={WIDTH}",
            "treepo.segment_length=16",
            "treepo.max_depth=4",
            "treepo.budget.total=response_tokens",
            "treepo.budget.response_tokens=120",
            "treepo.budget.min_width=2",
            f"trainer.rollout_data_dir={folder / 'run' / 'rollouts'}",
            f"trainer.total_training_steps={STEPS}",
            "trainer.val_before_train=false",
            "trainer.save_freq=-1",
        ],
        # Without the checkout.
        PYTHONPATH="",
    )
    try:
        assert run.wait(seconds=1800) == 0, run.tail()
        yield folder / "run"
    finally:
        run.end()


@pytest.fixture(scope="module")
def groups(run_dir: Path) -> list[list[dict[str, Any]]]:
    """The trained rows by prompt, padding left out."""
    by_prompt: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for step in range(1, STEPS + 1):
        for row in read_json_lines(run_dir / "rollouts" / f"{step}.jsonl"):
            if not row["uid"].startswith("pad"):
                by_prompt[row["uid"].split("_")[0]].append(row)
    return list(by_prompt.values())


def test_the_installed_command_leaves_the_folder_where_it_was_typed_as_it_was(run_dir: Path) -> None:
    assert list((run_dir.parent / "empty").iterdir()) == []


def test_the_run_had_the_published_loss_filter_and_penalty(run_dir: Path) -> None:
    ran, published = OmegaConf.load(run_dir / "config.yaml"), compose("qwen2_5_7b", [])
    for option in LOSS:
        assert ran.actor_rollout_ref.actor[option] == published.actor_rollout_ref.actor[option]
    assert ran.algorithm.filter_groups == published.algorithm.filter_groups
    assert ran.reward.reward_manager.name == "dapo"
    assert ran.reward.reward_kwargs.max_resp_len == LONGEST


def test_every_step_trains_on_a_whole_batch_of_groups_whose_accuracies_differ(
    groups: list[list[dict[str, Any]]],
) -> None:
    assert len(groups) == PROMPTS * STEPS
    for group in groups:
        assert len({coin(row["output"], row["gts"]) for row in group}) == 2


def test_hopeless_prompts_are_evicted_and_replaced(run_dir: Path, groups: list[list[dict[str, Any]]]) -> None:
    assert HOPELESS not in {row["gts"] for group in groups for row in group}
    evicted = read_scalars(run_dir / "tensorboard")["training/filter_groups/evicted_samples"]
    assert sum(evicted.values()) > 0


def test_groups_are_unequal_and_the_rest_of_the_batch_is_padding(
    run_dir: Path, groups: list[list[dict[str, Any]]]
) -> None:
    sizes = {len(group) for group in groups}
    assert len(sizes) > 1
    assert min(sizes) >= 2
    assert max(sizes) <= WIDTH
    share = read_scalars(run_dir / "tensorboard")["treepo/padding_share"]
    for step in range(1, STEPS + 1):
        rows = sum(len(group) for group in groups if group[0]["step"] == step)
        mini_batch = PROMPTS // 2 * WIDTH
        assert share[step] == pytest.approx(1 - rows / (-(-rows // mini_batch) * mini_batch))


def test_only_the_score_holds_the_length_penalty(groups: list[list[dict[str, Any]]]) -> None:
    penalties = [row["score"] - letter_share(row["output"]) for group in groups for row in group]
    assert max(penalties) == pytest.approx(0.0, abs=1e-5)
    assert min(penalties) == pytest.approx(-1.0, abs=1e-5), "a random model reaches the longest response"
    # A sixteenth for every token into the buffer.
    assert [penalty * BUFFER for penalty in penalties] == pytest.approx(
        [round(penalty * BUFFER) for penalty in penalties], abs=1e-3
    )


def test_the_second_update_of_a_step_is_clipped_and_trains(run_dir: Path) -> None:
    scalars = read_scalars(run_dir / "tensorboard")
    assert all(0 < value < float("inf") for value in scalars["actor/grad_norm"].values())
    assert all(value > 0 for value in scalars["actor/pg_clipfrac"].values())
