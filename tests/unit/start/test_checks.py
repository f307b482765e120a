"""What cannot work is refused before any process starts, in one line that names the option and the remedy."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from tiny_stack import compose_tiny, mode_overrides, write_tiny_model
from training_run import ROOT, write_sums

from treepo.config import ConfigError
from treepo.config.load import tree_options
from treepo.config.policies import RolloutBackend
from treepo.start.checkpoints import NOTE
from treepo.start.checks import CHECKS, check
from treepo.start.declared import READS, Check, Start
from treepo.start.resumption import begin
from treepo.start.training import MODES
from treepo.verl.rollout.backend import backend, seeded

BUFFER = "reward.reward_kwargs.overlong_buffer_cfg"
OVERLONG = f"reward.reward_manager.name=dapo +{BUFFER}={{enable:true,len:16,penalty_factor:1.0,log:false}}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preflight")
    write_tiny_model(folder / "model")
    write_sums(folder / "train.parquet", 16, seed=0)
    (folder / "not_a_table.parquet").write_text("prompt,answer\n")
    (folder / "no_tokenizer").mkdir()
    (folder / "no_tokenizer" / "config.json").write_text("{}")
    (folder / "empty").mkdir()
    return folder


def composed(folder: Path, *overrides: str) -> DictConfig:
    table = folder / "train.parquet"
    # Whoever has run the preset has a run in its own folder.
    defaults = [f"data.train_files=[{table}]", f"data.val_files=[{table}]", f"run_dir={folder / 'run'}"]
    return compose_tiny(folder / "model", [*defaults, *(override.replace("@", f"{folder}/") for override in overrides)])


def test_a_sound_configuration_passes_without_a_warning(folder: Path) -> None:
    assert check(composed(folder)) == []


def test_a_single_file_may_be_given_without_a_list(folder: Path) -> None:
    assert check(composed(folder, "data.train_files=@train.parquet")) == []


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.train_files=[@missing.parquet]", "data.train_files"),
        ("data.val_files=[@not_a_table.parquet]", "data.val_files"),
        ("actor_rollout_ref.model.path=@nowhere", "actor_rollout_ref.model.path"),
        ("actor_rollout_ref.model.path=@empty", "config.json"),
        ("actor_rollout_ref.model.path=@no_tokenizer", "actor_rollout_ref.model.tokenizer_path"),
        ("actor_rollout_ref.rollout.n=3", "set treepo.width alone"),
        ("algorithm.adv_estimator=treep", "did you mean treepo?"),
        ("algorithm.adv_estimator=xyz", "it must be one of treepo,"),
        ("trainer.v1.trainer_mode=snyc", "did you mean sync?"),
        (
            "trainer.v1.trainer_mode=colocate_async treepo.rollout.backend=portable",
            "treepo.rollout.seeded_requests=true is refused",
        ),
        ("actor_rollout_ref.actor.ppo_mini_batch_size=3 trainer.n_gpus_per_node=16", "the 16 data-parallel ranks"),
        (
            "actor_rollout_ref.actor.ulysses_sequence_parallel_size=2",
            "ulysses_sequence_parallel_size=2 is refused: it must divide trainer.nnodes x trainer.n_gpus_per_node = 1",
        ),
        (
            "actor_rollout_ref.ref.fsdp_config.ulysses_sequence_parallel_size=2 trainer.n_gpus_per_node=2",
            "ref.fsdp_config.ulysses_sequence_parallel_size=2 is refused: verl shares sequences without padding alone; "
            "set actor_rollout_ref.model.use_remove_padding=true",
        ),
        ("algorithm.filter_groups.enable=true algorithm.filter_groups.metric=null", "filter_groups.metric is empty"),
        ("+reward.reward_kwargs.overlong_buffer_cfg.enable=true", "overlong_buffer_cfg.len is missing"),
        (f"{OVERLONG} reward.reward_manager.name=naive", "only reward.reward_manager.name=dapo reads it"),
        (f"{OVERLONG} +reward.reward_kwargs.max_resp_len=100", "data.max_response_length=160"),
        (f"{OVERLONG} +reward.reward_kwargs.max_resp_len=160 ++{BUFFER}.len=161", "between 1 and 160"),
        ("actor_rollout_ref.rollout.max_model_len=100", "need 256"),
        ("treepo.width=1", "treepo.width=1 is refused"),
        ("data.max_response_length=abc", "data.max_response_length=abc is refused: it must be a whole number"),
        ("data.train_batch_size=0", "data.train_batch_size=0 is refused"),
        ("trainer.total_epochs=0", "trainer.total_epochs=0 is refused"),
        ("trainer.total_training_steps=0", "trainer.total_training_steps=0 is refused"),
        ("trainer.total_training_steps=many", "trainer.total_training_steps=many is refused"),
        ("trainer.save_freq=null", "trainer.save_freq=None is refused: it must be a number of steps, or -1 for never"),
        ("trainer.test_freq=often", "trainer.test_freq=often is refused"),
        ("trainer.resume_mode=atuo", "trainer.resume_mode=atuo is refused"),
        ("actor_rollout_ref.actor.ppo_mini_batch_size=0", "ppo_mini_batch_size=0 is refused"),
        ("data.train_files=null", "data.train_files is empty"),
        ("actor_rollout_ref.rollout.name=foo", "actor_rollout_ref.rollout.name=foo is refused"),
        ("actor_rollout_ref.actor.loss_agg_mode=foo", "verl refuses the configuration"),
        ("treepo=null", "Config group override must be a string"),
    ],
)
def test_what_cannot_work_is_one_line(folder: Path, override: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check(composed(folder, *override.split()))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_verls_own_estimators_are_known(folder: Path) -> None:
    assert check(composed(folder, "algorithm.adv_estimator=grpo")) == []


def test_what_is_probably_a_mistake_is_a_warning(folder: Path) -> None:
    warnings = check(composed(folder, "treepo.max_depth=2", "trainer.save_freq=-1"))
    assert [warning.split(" ")[0] for warning in warnings] == ["trainer.save_freq=-1:", "treepo.max_depth"]


def test_a_folder_that_holds_another_run_is_refused_unless_that_is_accepted(folder: Path, tmp_path: Path) -> None:
    begin(composed(folder, f"run_dir={tmp_path}"))
    (tmp_path / "checkpoints" / "global_step_25").mkdir(parents=True)
    (tmp_path / "checkpoints" / NOTE).write_text("25")
    assert check(composed(folder, f"run_dir={tmp_path}")) == []
    other = composed(folder, f"run_dir={tmp_path}", "treepo.max_divergence=3")
    with pytest.raises(ConfigError, match=r"treepo\.max_divergence=2, now 3"):
        check(other)
    (warning,) = check(other, accept_changes=True)
    assert "resumes from step 25 with other options: treepo.max_divergence=2, now 3" in warning


def test_without_prefix_caching_there_is_a_warning(folder: Path) -> None:
    overrides = ["actor_rollout_ref.rollout.enable_prefix_caching=false", "treepo.rollout.backend=portable"]
    (warning,) = check(composed(folder, *overrides))
    assert warning.startswith("actor_rollout_ref.rollout.enable_prefix_caching=false")


def test_servers_that_were_never_tried_are_a_warning_and_grow_trees_from_outside(folder: Path) -> None:
    config = composed(folder, "actor_rollout_ref.rollout.name=sglang", "treepo.rollout.seeded_requests=false")
    (warning,) = check(config)
    assert warning == "actor_rollout_ref.rollout.name=sglang: trees have only been run on vllm"
    assert backend(config, tree_options(config)) is RolloutBackend.PORTABLE


def test_on_vllm_trees_grow_in_the_engine_and_its_stream_follows_the_segments(folder: Path) -> None:
    config = composed(folder, "treepo.segment_length=16", "treepo.max_depth=10")
    assert backend(config, tree_options(config)) is RolloutBackend.IN_ENGINE
    assert config.actor_rollout_ref.rollout.engine_kwargs.vllm.stream_interval == 16
    assert check(config) == []
    (warning,) = check(composed(folder, "actor_rollout_ref.rollout.engine_kwargs.vllm.stream_interval=20"))
    assert warning.endswith("forks open up to 19 tokens late")


def test_under_full_determinism_every_request_has_its_own_seed(folder: Path) -> None:
    overrides = ["treepo.rollout.seeded_requests=false"]
    plain = composed(folder, *overrides)
    assert not seeded(plain, tree_options(plain))
    determined = composed(folder, *overrides, "actor_rollout_ref.rollout.full_determinism=true")
    assert seeded(determined, tree_options(determined))


@pytest.mark.parametrize("mode", ["colocate_async", "separate_async"])
def test_an_asynchronous_trainer_without_a_correction_for_old_weights_is_a_warning(folder: Path, mode: str) -> None:
    overrides = mode_overrides(mode)
    (warning,) = check(composed(folder, *overrides))
    assert "tokens of older weights are trained as if they were new" in warning
    for remedy in ("bypass_mode=true", "rollout_is=token"):
        assert check(composed(folder, *overrides, f"algorithm.rollout_correction.{remedy}")) == []


def test_a_filter_on_the_reward_beside_the_length_penalty_is_a_warning(folder: Path) -> None:
    groups = ["algorithm.filter_groups.enable=true", "algorithm.filter_groups.metric=reward"]
    overlong = [*OVERLONG.split(), "+reward.reward_kwargs.max_resp_len=160"]
    (warning,) = check(composed(folder, *groups, *overlong))
    assert warning.endswith("acc is meant")
    assert check(composed(folder, *groups)) == []


def test_the_modes_are_those_that_a_tree_trainer_stands_for() -> None:
    from treepo.verl.training.trainer import TRAINERS

    assert tuple(TRAINERS) == MODES


REFUSED = [
    (["treepo.widht=3"], "error: treepo.widht is not an option; did you mean treepo.width?"),
    (["--config-name", "cpu_quickstrat"], "error: --preset cpu_quickstrat is not a preset"),
    (["treepo.width=1"], "error: treepo.width=1 is refused"),
    (["preset=qwen2_5_7b"], "error: preset=qwen2_5_7b is not an option; to choose the preset write --preset qwen2"),
    (["run_dir=null"], "error: run_dir is empty"),
    (["trainer.project_name=${nowhere}"], "error: Interpolation key 'nowhere' not found"),
]


@pytest.mark.parametrize(
    ("arguments", "line"), [REFUSED[0], *(pytest.param(*each, marks=pytest.mark.nightly) for each in REFUSED[1:])]
)
def test_the_launcher_prints_one_line_and_ends_with_status_2(arguments: list[str], line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "recipe.treepo.main_treepo", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1


def test_the_launcher_prints_the_composed_configuration() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "treepo", "train", "-cn", "cpu_quickstart", "--cfg", "job", "treepo.width=6"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0
    assert "  width: 6\n" in done.stdout


# --- one list holds every check, and each says what it reads


@pytest.fixture(scope="module")
def declared(tmp_path_factory: pytest.TempPathFactory) -> DictConfig:
    folder = tmp_path_factory.mktemp("declared")
    write_tiny_model(folder / "model")
    files = write_sums(folder / "train.parquet", 16, seed=0), write_sums(folder / "other.parquet", 16, seed=1)
    overrides = [
        f"data.train_files=[{files[0]},{files[1]}]",
        f"data.val_files=[{files[0]}]",
        f"run_dir={folder / 'run'}",
        # The one group that is added by hand.
        "+reward.reward_kwargs.max_resp_len=160",
    ]
    return compose_tiny(folder / "model", overrides)


def name_of(check: Check) -> str:
    return f"{check.__module__.rpartition('.')[2]}.{check.__name__}"


def test_every_check_of_the_room_stands_in_the_list_once() -> None:
    assert sorted(map(name_of, CHECKS)) == sorted(map(name_of, READS))


@pytest.mark.parametrize("one", CHECKS, ids=name_of)
def test_what_a_check_reads_is_there(one: Check, declared: DictConfig) -> None:
    assert READS[one]
    for option in READS[one]:
        group, _, last = option.rpartition(".")
        assert last in (OmegaConf.select(declared, group) if group else declared), option


@pytest.mark.parametrize("one", CHECKS, ids=name_of)
def test_a_check_reads_nothing_else(one: Check, declared: DictConfig) -> None:
    known = OmegaConf.create()
    for option in READS[one]:
        OmegaConf.update(known, option, OmegaConf.select(declared, option), force_add=True)
    OmegaConf.set_struct(known, True)
    warnings = list(one(Start(config=known)) or ())
    assert warnings == []
