"""A folder that holds another run is refused, a run resumes with what may change, and one that is over says so."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from start_checks import run_checks

from treepo.config import ConfigError
from treepo.config.load import compose, resolve
from treepo.start import resumption
from treepo.start.checkpoints import NOTE
from treepo.start.resumption import (
    CONFIG,
    begin,
    find_checkpoint,
    nothing_left,
    nothing_trained,
)

ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"


def check_resumption(config: DictConfig, *, accept_changes: bool = False) -> list[str]:
    return run_checks(config, resumption, accept_changes=accept_changes)


def composed(run_dir: Path, *overrides: str) -> DictConfig:
    config = compose("cpu_quickstart", [f"run_dir={run_dir}", *overrides])
    resolve(config)
    return config


def save(run_dir: Path, step: int) -> Path:
    """A checkpoint as verl's trainer leaves it."""
    folder = run_dir / "checkpoints" / f"global_step_{step}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder.parent / NOTE).write_text(str(step))
    return folder


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run that was begun with the preset as it is, and saved at step 25."""
    folder = tmp_path / "run"
    begin(composed(folder))
    save(folder, 25)
    return folder


# --- going on


def test_a_first_start_has_nothing_to_resume_from(tmp_path: Path) -> None:
    config = composed(tmp_path / "new")
    assert find_checkpoint(config) is None
    assert check_resumption(config) == []


def test_the_same_command_resumes(run_dir: Path) -> None:
    found = find_checkpoint(composed(run_dir))
    assert found is not None
    assert (found.folder, found.step, found.own) == (run_dir / "checkpoints/global_step_25", 25, True)
    assert check_resumption(composed(run_dir)) == []


@pytest.mark.parametrize(
    "override",
    [
        *("trainer.total_training_steps=500", "trainer.total_epochs=3", "trainer.save_freq=5", "trainer.test_freq=5"),
        *("trainer.nnodes=4", "trainer.n_gpus_per_node=8", "trainer.logger=[console]", "trainer.experiment_name=x"),
        *("treepo.dump_trees=1", "treepo.packing.enabled=false", "treepo.rollout.backend=portable"),
        *("data.val_files=[other.parquet]", "data.validation_shuffle=true", "data.dataloader_num_workers=4"),
        *(f"{ACTOR}.ppo_max_token_len_per_gpu=2048", f"{ACTOR}.fsdp_config.param_offload=true"),
        *(f"{ACTOR}.use_torch_compile=true", f"{ACTOR}.optim.total_training_steps=99"),
        *(f"{ROLLOUT}.max_num_seqs=64", f"{ROLLOUT}.gpu_memory_utilization=0.8", f"{ROLLOUT}.val_kwargs.n=8"),
        *("algorithm.filter_groups.max_num_gen_batches=30", "ray_kwargs.ray_init.num_cpus=32", "reward.num_workers=4"),
        # The same file by another path.
        *("data.train_files=.cache/quickstart/task/train.parquet", "actor_rollout_ref.model.path=$HERE"),
    ],
)
def test_what_does_not_make_it_another_run_may_change(run_dir: Path, override: str) -> None:
    here = str(Path(".cache/quickstart/model").absolute())
    assert check_resumption(composed(run_dir, override.replace("$HERE", here))) == []


@pytest.mark.parametrize(
    ("override", "change"),
    [
        ("treepo.max_divergence=3", "treepo.max_divergence=2, now 3"),
        ("treepo.fallback.cut=none", "treepo.fallback.cut=random, now none"),
        ("treepo.seed=1", "treepo.seed=0, now 1"),
        ("data.seed=2", "data.seed=1, now 2"),
        ("data.train_batch_size=8", "data.train_batch_size=16, now 8"),
        ("data.shuffle=false", "data.shuffle=true, now false"),
        ("algorithm.adv_estimator=grpo", "algorithm.adv_estimator=treepo, now grpo"),
        ("algorithm.filter_groups.enable=true", "algorithm.filter_groups.enable=false, now true"),
        ("reward.reward_manager.name=dapo", "reward.reward_manager.name=naive, now dapo"),
        ("+reward.reward_kwargs.max_resp_len=160", "reward.reward_kwargs.max_resp_len=null, now 160"),
        (f"{ACTOR}.optim.lr=1e-6", f"{ACTOR}.optim.lr=0.0003, now 1e-06"),
        (f"{ACTOR}.clip_ratio_high=0.2", f"{ACTOR}.clip_ratio_high=0.28, now 0.2"),
        (f"{ACTOR}.use_kl_loss=true", f"{ACTOR}.use_kl_loss=false, now true"),
        (f"{ACTOR}.ppo_mini_batch_size=8", f"{ACTOR}.ppo_mini_batch_size=16, now 8"),
        (f"{ROLLOUT}.temperature=0.7", f"{ROLLOUT}.temperature=1.0, now 0.7"),
        (f"{ROLLOUT}.seed=7", f"{ROLLOUT}.seed=42, now 7"),
        ("actor_rollout_ref.model.path=/m/other", "actor_rollout_ref.model.path=.cache/quickstart/model, now /m/other"),
        ("trainer.v1.trainer_mode=colocate_async", "trainer.v1.trainer_mode=sync, now colocate_async"),
        (
            f"{ROLLOUT}.agent.agent_loop_manager_class=null",
            f"{ROLLOUT}.agent.agent_loop_manager_class=treepo.verl.rollout.agent_loop.TreeAgentLoopManager, now null",
        ),
    ],
)
def test_another_run_in_the_same_folder_is_refused_by_name(run_dir: Path, override: str, change: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_resumption(composed(run_dir, override))
    assert str(refused.value) == (
        f"run_dir={run_dir} is refused: the run there, at step 25, has other options: {change}; give another run_dir, "
        "begin anew with trainer.resume_mode=disable, or continue all the same with --accept-changes"
    )


def test_of_many_differences_the_first_are_named_and_the_others_counted(run_dir: Path) -> None:
    overrides = ("treepo.width=4", "treepo.seed=1", "data.seed=2", "data.shuffle=false", "algorithm.gamma=0.9")
    with pytest.raises(ConfigError, match=r"width=8, now 4; treepo.seed=0, now 1; data[^;]*; 2 more; give another"):
        check_resumption(composed(run_dir, *overrides))


def test_changes_may_be_accepted_and_are_the_runs_own_from_then_on(run_dir: Path) -> None:
    config = composed(run_dir, "treepo.max_divergence=3", "treepo.width=4")
    assert check_resumption(config, accept_changes=True) == [
        f"run_dir={run_dir} resumes from step 25 with other options: treepo.width=8, now 4; treepo.max_divergence=2, "
        "now 3"
    ]
    assert begin(config) is None
    assert check_resumption(config) == []
    with pytest.raises(ConfigError, match=r"treepo.max_divergence=3, now 2"):
        check_resumption(composed(run_dir))


def test_an_accepted_learning_rate_comes_with_the_word_that_verl_restores_the_old_one(run_dir: Path) -> None:
    warnings = check_resumption(composed(run_dir, f"{ACTOR}.optim.lr=1e-6"), accept_changes=True)
    assert len(warnings) == 2
    assert "checkpoint.load_contents=[model]" in warnings[1]


def test_a_file_that_has_moved_with_its_name_is_the_same_and_one_beside_it_is_not(tmp_path: Path) -> None:
    first, second = tmp_path / "job1/train.parquet", tmp_path / "job2/train.parquet"
    for file in (first, second):
        file.parent.mkdir()
        file.touch()
    begin(composed(tmp_path / "run", f"data.train_files=[{first}]"))
    save(tmp_path / "run", 25)
    moved = composed(tmp_path / "run", f"data.train_files=[{second}]")
    with pytest.raises(ConfigError, match="train_files"):
        check_resumption(moved)
    first.unlink()
    assert check_resumption(moved) == []
    with pytest.raises(ConfigError, match="train_files"):
        check_resumption(composed(tmp_path / "run", f"data.train_files=[{second.with_name('other.parquet')}]"))
    with pytest.raises(ConfigError, match="train_files"):
        check_resumption(composed(tmp_path / "run", f"data.train_files=[{second},{second}]"))


def test_an_option_that_is_younger_than_the_run_had_its_default(run_dir: Path) -> None:
    stored = OmegaConf.load(run_dir / CONFIG)
    del stored.treepo.max_dropped
    OmegaConf.save(stored, run_dir / CONFIG)
    assert check_resumption(composed(run_dir)) == []
    other = composed(run_dir, "treepo.min_trajectory_length=4", "treepo.max_dropped=3")
    with pytest.raises(ConfigError, match=r"treepo.max_dropped=256, now 3"):
        check_resumption(other)


def test_a_folder_whose_options_are_lost_is_a_warning(run_dir: Path) -> None:
    (run_dir / CONFIG).unlink()
    (warning,) = check_resumption(composed(run_dir))
    assert (
        warning == f"run_dir={run_dir} is at step 25, and nothing says with which options: config.yaml is missing there"
    )


@pytest.mark.parametrize("content", [b"treepo: [1,", b"\xff\xfe\x00", b"- a\n- b\n", b"text"])
def test_a_folder_whose_options_cannot_be_read_is_refused_in_one_line_unless_accepted(
    run_dir: Path, content: bytes
) -> None:
    (run_dir / CONFIG).write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        check_resumption(composed(run_dir))
    assert "\n" not in str(refused.value)
    assert len(check_resumption(composed(run_dir), accept_changes=True)) >= 1


def test_a_step_of_the_run_that_is_named_by_its_path_is_the_run_and_one_of_another_is_a_beginning(
    run_dir: Path, tmp_path: Path
) -> None:
    named = f"trainer.resume_from_path={save(run_dir, 25)}"
    words = ("trainer.resume_mode=resume_path", named, "treepo.max_divergence=3")
    with pytest.raises(ConfigError, match=r"treepo.max_divergence=2, now 3"):
        check_resumption(composed(run_dir, *words))
    other = composed(tmp_path / "other", *words)
    found = find_checkpoint(other)
    assert found is not None
    assert not found.own
    assert check_resumption(other) == []


def test_validating_a_checkpoint_is_no_resumption(run_dir: Path) -> None:
    words = ("trainer.val_only=true", "treepo.max_divergence=3", "trainer.total_training_steps=5")
    config = composed(run_dir, *words)
    assert check_resumption(config) == []
    assert nothing_left(config) is None
    begin(config)
    begin(composed(run_dir, *words, "trainer.resume_mode=disable"))
    assert check_resumption(composed(run_dir)) == []
    assert find_checkpoint(composed(run_dir)) is not None


# --- beginning anew


@pytest.mark.parametrize("mode", ["disable", "resume_path"])
def test_a_run_that_begins_anew_is_never_taken_for_the_one_before(run_dir: Path, tmp_path: Path, mode: str) -> None:
    step = save(tmp_path / "elsewhere", 10)
    anew = ["treepo.max_divergence=3", f"trainer.resume_mode={mode}", f"trainer.resume_from_path={step}"]
    config = composed(run_dir, *anew)
    assert check_resumption(config) == []
    note = run_dir / "checkpoints" / NOTE
    assert begin(config) == (
        f"the run begins anew, and resumes from no checkpoint before it: {note} is {NOTE}.before now, and every "
        "global_step_N beside it global_step_N.before"
    )
    # It ends before its first checkpoint: there is none to resume from, and what was saved before is still there.
    assert find_checkpoint(composed(run_dir, "treepo.max_divergence=3")) is None
    assert (run_dir / "checkpoints/global_step_25.before").is_dir()
    assert (run_dir / "checkpoints" / f"{NOTE}.before").read_text() == "25"
    save(run_dir, 30)
    assert check_resumption(composed(run_dir, "treepo.max_divergence=3")) == []
    with pytest.raises(ConfigError, match=r"treepo.max_divergence=3, now 2"):
        check_resumption(composed(run_dir))


def test_the_same_run_that_begins_anew_may_resume_from_what_was_saved_before(run_dir: Path) -> None:
    assert begin(composed(run_dir, "trainer.resume_mode=disable")) is None
    assert find_checkpoint(composed(run_dir)) is not None


def test_checkpoints_of_nobody_knows_what_are_put_aside_too(run_dir: Path) -> None:
    (run_dir / CONFIG).unlink()
    assert begin(composed(run_dir, "trainer.resume_mode=disable")) is not None
    assert find_checkpoint(composed(run_dir)) is None


def test_the_folder_says_what_its_run_was_begun_with(run_dir: Path) -> None:
    stored = OmegaConf.load(run_dir / CONFIG)
    assert (stored.run_dir, stored.actor_rollout_ref.rollout.n) == (str(run_dir), 8)
    assert [file.name for file in run_dir.iterdir() if file.is_file()] == [CONFIG]


# --- nothing left


def test_a_run_at_its_last_step_says_so_in_one_line(run_dir: Path) -> None:
    folder = run_dir / "checkpoints/global_step_25"
    for steps in (25, 10):
        assert nothing_left(composed(run_dir, f"trainer.total_training_steps={steps}")) == (
            f"nothing left to train: {folder} is the checkpoint of step 25, and trainer.total_training_steps={steps}; "
            "raise it to continue, or give another run_dir"
        )
    for words in (["trainer.total_training_steps=26"], ["trainer.total_training_steps=null"], []):
        assert nothing_left(composed(run_dir, *words)) is None
    assert nothing_left(composed(run_dir, "trainer.total_training_steps=25", "trainer.resume_mode=disable")) is None


def test_a_run_whose_epochs_are_over_says_so_once_verl_has_counted_them(run_dir: Path) -> None:
    config = composed(run_dir, "trainer.total_training_steps=null", "trainer.total_epochs=2")
    before = find_checkpoint(config)
    assert nothing_trained(config, before) == (
        f"nothing left to train: {run_dir / 'checkpoints/global_step_25'} is the checkpoint of step 25, and "
        "trainer.total_epochs=2 ends there; raise it to continue, or give another run_dir"
    )
    unsaved = composed(run_dir, "trainer.total_training_steps=null", "trainer.save_freq=-1")
    assert nothing_trained(unsaved, before) is None
    save(run_dir, 26)
    assert nothing_trained(config, before) is None
    assert nothing_trained(config, None) is None
