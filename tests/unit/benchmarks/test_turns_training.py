"""The turns' trainings: which runs there are, what is read from a run's logs, and the table of them."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter
from training_run import ROOT

from benchmarks.learning.results import RunKey, load, save
from benchmarks.turns.training import ARMS, TRAINED, TalkResult, choose, fingerprint, read_talks, training_table
from recipe.calculator.run import HERE, PRESET
from treepo.config import ConfigError
from treepo.config.load import compose

STEPS = compose(PRESET, [], config_dir=HERE).trainer.total_training_steps


def key(arm: str = "trees_treepo", seed: int = 0) -> RunKey:
    return RunKey(arm=arm, seed=seed, fingerprint=fingerprint(arm))


def write_logs(folder: Path, *, steps: int = STEPS) -> None:
    writer = SummaryWriter(str(folder))
    for step, accuracy in ((0, 0.25), (steps, 0.75)):
        writer.add_scalar("val-core/treepo/word_chains/acc/mean@4", accuracy, step)
    for step in range(1, steps + 1):
        for part in ("step", "gen", "old_log_prob", "adv", "update_actor", "update_weights"):
            writer.add_scalar(f"timing_s/{part}", 2.0, step)
        writer.add_scalar("critic/score/mean", -0.5, step)
        writer.add_scalar("treepo/tokens/generated", 700, step)
        writer.add_scalar("treepo/tokens/discarded", 0, step)
        writer.add_scalar("treepo/tokens/in_trajectories", 1000, step)
        writer.add_scalar("treepo/turns/per_trajectory/mean", 2 + step / steps, step)
        writer.add_scalar("treepo/turns/calls_per_prompt", 12, step)
        writer.add_scalar("treepo/turns/steps_per_prompt", 5, step)
    writer.close()


def read(folder: Path, wanted: RunKey) -> TalkResult:
    return read_talks(folder, key=wanted, began=time.time() - 9, wall=50.0, load_before=0.1)


def test_a_runs_turns_and_accuracy_are_read_and_survive_its_file(tmp_path: Path) -> None:
    write_logs(tmp_path / "logs")
    made = read(tmp_path / "logs", key())
    assert (made.accuracy_steps, made.accuracy) == ([0, STEPS], [0.25, 0.75])
    # 128 held-out problems, four talks each.
    assert made.held_out_samples == 512
    assert (made.turns[-1], made.calls[0], made.steps[0]) == (3.0, 12.0, 5.0)
    save(tmp_path, made)
    assert load(tmp_path / f"{made.key.name}.json", TalkResult) == made


def test_a_training_that_stopped_early_is_no_result(tmp_path: Path) -> None:
    write_logs(tmp_path, steps=2)
    with pytest.raises(ValueError, match=rf"is logged for steps \[1, 2\], not for 1 to {STEPS}"):
        read(tmp_path, key())


def test_the_table_has_a_row_per_run_and_a_mean_per_arm(tmp_path: Path) -> None:
    write_logs(tmp_path / "logs")
    made = read(tmp_path / "logs", key())
    for arm in ("talks_grpo", "trees_treepo"):
        for seed in (0, 1):
            own = replace(made, arm=arm, seed=seed, fingerprint=fingerprint(arm))
            save(tmp_path, replace(own, accuracy=[0.25, 0.5 + seed / 4]))
    lines = training_table(tmp_path).splitlines()
    assert [line.split(" | ")[:4] for line in lines[2:]] == [
        [f"| {says}", *row]
        for name in ("independent talks, GRPO credit", "trees, `treepo`")
        for says, *row in (
            (name, "0", "25.0%", "50.0%"),
            (name, "1", "25.0%", "75.0%"),
            (f"**{name}**", "mean", "25.0%", "62.5%"),
        )
    ]


def test_arms_differ_in_what_they_name_and_share_the_rest() -> None:
    assert len({fingerprint(arm) for arm in ARMS}) == len(ARMS)
    assert choose("all") == list(ARMS)
    assert choose("trees_grpo,talks_grpo") == ["trees_grpo", "talks_grpo"]
    with pytest.raises(ConfigError, match=r"--arms trees is not an arm; there are: talks_grpo, "):
        choose("trees")


def test_the_page_shows_the_stored_trainings_or_says_that_there_are_none() -> None:
    page = (ROOT / "docs/multi_turn_measured.md").read_text(encoding="utf-8")
    said_missing = "that comparison has not been run" in " ".join(page.split())
    if any(TRAINED.glob("*.json")):
        assert training_table() in page
        assert not said_missing
    else:
        assert said_missing


def test_without_results_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no results in .*python -m benchmarks.turns training"):
        training_table(tmp_path)
