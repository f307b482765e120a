"""The command line: presets, short forms, nodes, the dry run."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
from tiny_stack import write_tiny_model
from training_run import ROOT, write_sums

from treepo.commands import main
from treepo.commands.launch import training_overrides
from treepo.config import ConfigError
from treepo.config.load import CONFIG_DIR
from treepo.launch.nodes.job import Job, Launch
from treepo.launch.options import Options
from treepo.launch.training import prepare
from treepo.start.checkpoints import NOTE
from treepo.start.resumption import begin

TWO_NODES = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "head"}
SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
SHAPE = "vocab_size=300,hidden_size=64,intermediate_size=128,num_hidden_layers=2,num_attention_heads=2"


@pytest.fixture(autouse=True)
def environment_of_the_tests() -> Iterator[None]:
    """A dry run adopts its preset's environment."""
    with patch.dict(os.environ):
        yield


def prepared(*words: str, environment: dict[str, str] | None = None, starts: bool = True) -> Launch:
    options = Options(preset="cpu_quickstart", overrides=words)
    return prepare(options, ("trainer",), environment or {}, starts=starts)[0]


def launched(*words: str) -> int:
    """The exit status of a launch, or of its dry run."""
    return main(["launch", "train", "--preset", "cpu_quickstart", *words])


def test_the_trainer_gets_the_preset_and_every_override() -> None:
    job = prepared("treepo.width=4", "run_dir=/tmp/x/run").job
    assert job.command == ("trainer", "--preset", "cpu_quickstart", "treepo.width=4", "run_dir=/tmp/x/run")
    assert (job.run_dir, job.checkpoints) == (Path("/tmp/x/run"), Path("/tmp/x/run/checkpoints"))
    assert (job.resources.num_cpus, job.resources.num_gpus, job.accelerators) == (16, 1, 1)


def test_short_forms_are_hydra_overrides_also_for_awkward_paths() -> None:
    words = training_overrides("/m,1/a b=c", ["/t/a b.parquet", "/t/2.parquet"], ["/v.parquet"])
    config = prepare(Options(preset="cpu_quickstart", overrides=tuple(words)), ("trainer",), {})[1]
    assert config.actor_rollout_ref.model.path == "/m,1/a b=c"
    assert list(config.data.train_files) == ["/t/a b.parquet", "/t/2.parquet"]
    assert list(config.data.val_files) == ["/v.parquet"]


def test_the_scheduler_decides_over_a_presets_number_of_nodes() -> None:
    launch = prepared(environment=TWO_NODES)
    assert launch.job.command[-1] == "trainer.nnodes=2"
    assert (launch.cluster.nodes, launch.cluster.rank) == (2, 1)


def test_a_typed_number_of_nodes_must_agree_with_the_scheduler() -> None:
    assert prepared("trainer.nnodes=2", environment=TWO_NODES).job.command.count("trainer.nnodes=2") == 1
    with pytest.raises(ConfigError, match=r"trainer.nnodes=3 .*contradicts NNODES=2, NODE_RANK=1"):
        prepared("trainer.nnodes=3", environment=TWO_NODES)


def test_many_nodes_without_a_scheduler_are_refused_but_can_be_dry_run() -> None:
    with pytest.raises(ConfigError, match=r"trainer.nnodes=2 is refused: .*TREEPO_NODE_RANK"):
        prepared("trainer.nnodes=2")
    assert prepared("trainer.nnodes=2", starts=False).cluster.nodes == 1


REWARD_POOL = ("reward.reward_model.enable_resource_pool=true", "reward.reward_model.nnodes=1")


@pytest.mark.parametrize("nodes", [1, 2])
def test_nodes_of_a_further_pool_come_on_top_or_are_shared(nodes: int) -> None:
    words = (f"trainer.nnodes={nodes}", *REWARD_POOL)
    assert prepared(*words, environment=TWO_NODES).job.command[-3:] == words


def test_nodes_that_no_pool_takes_are_refused_with_every_pool_by_name() -> None:
    words = ("trainer.nnodes=1", *REWARD_POOL, "distillation.enabled=true", "distillation.nnodes=1")
    four = {**TWO_NODES, "NNODES": "4"}
    with pytest.raises(
        ConfigError,
        match=r"trainer.nnodes=1 \+ reward.reward_model.nnodes=1 \+ distillation.nnodes=1 contradicts NNODES=4",
    ):
        prepared(*words, environment=four)
    with pytest.raises(ConfigError, match=r"trainer.nnodes=3 \+ reward.reward_model.nnodes=1 contradicts NNODES=2"):
        prepared("trainer.nnodes=3", *REWARD_POOL, environment=TWO_NODES)
    with pytest.raises(ConfigError, match=r"contradicts NNODES=4, .*; set trainer.nnodes$"):
        prepared(*REWARD_POOL, environment=four)


def test_a_further_pool_may_share_the_one_node_without_a_scheduler() -> None:
    assert prepared(*REWARD_POOL).cluster.nodes == 1
    with pytest.raises(ConfigError, match=r"reward.reward_model.nnodes=2 is refused: no scheduler"):
        prepared(REWARD_POOL[0], "reward.reward_model.nnodes=2")


def test_servers_of_another_mode_take_no_nodes() -> None:
    assert prepared("trainer.nnodes=2", "actor_rollout_ref.rollout.nnodes=1", environment=TWO_NODES).cluster.nodes == 2


def test_another_engine_is_one_line_also_in_a_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--dry-run"], []):
        assert main(["launch", "train", "--preset", "treepo_trainer", "model_engine=megatron", *words]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("error: model_engine=megatron ")
        assert (captured.err.count("\n"), captured.out) == (1, "")


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--join-limit", "0"], "--join-limit must be above 0"),
        (["treepo.widht=3"], "treepo.widht is not an option; did you mean treepo.width"),
        (["preset=qwen2_5_7b"], "preset=qwen2_5_7b is not an option; to choose the preset write --preset qwen2_5_7b"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(words: list[str], refusal: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert launched(*words) == 2
    assert capsys.readouterr().err.startswith(f"error: {refusal}")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("dry_run")
    model, table = write_tiny_model(folder / "model"), str(write_sums(folder / "sums.parquet", 1024, seed=0))
    described = json.loads((model / "config.json").read_text())
    # As long as every preset's responses.
    (model / "config.json").write_text(json.dumps({**described, "max_position_embeddings": 8192}))
    return ["--model", str(model), "--train", table, "--val", table]


@pytest.mark.parametrize("preset", sorted(path.stem for path in CONFIG_DIR.glob("*.yaml")))
def test_every_preset_is_dry_run(
    preset: str, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", "train", "--preset", preset, *files, f"run_dir={tmp_path / 'run'}"]
    assert main(words) == 0, capsys.readouterr().err
    output = capsys.readouterr().out
    assert f"    path: {files[1]}\n" in output
    assert "memory expected per accelerator" in output
    assert not (tmp_path / "run").exists()


def test_a_dry_run_checks_on_the_platform_of_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERL_PLATFORM", "cuda")
    assert launched("--dry-run", "--model", "/nowhere") == 2
    assert os.environ["VERL_PLATFORM"] == "cpu"


def test_a_dry_run_without_the_model_prints_all_and_then_says_what_would_be_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert launched("--dry-run", "--model", "/nowhere", "--model-shape", SHAPE) == 2
    captured = capsys.readouterr()
    assert "memory expected per accelerator" in captured.out
    assert captured.err.startswith("error: ")


def test_without_an_estimate_a_dry_run_checks_all_the_same(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dry-run", *files, f"run_dir={tmp_path / 'run'}"]
    experts = tmp_path / "experts.json"
    experts.write_text(json.dumps({**dict.fromkeys(SIZES, 64), "num_experts": 8}))
    for shape, reason in ((experts, "is a mixture of experts"), ("hidden_size=64", "lacks vocab_size")):
        assert launched(*words, "--model-shape", str(shape)) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("no estimate: ")]
        assert reason in line
        assert launched(*words, "--model-shape", str(shape), "trainer.resume_mode=x") == 2
        assert capsys.readouterr().err.startswith("error: trainer.resume_mode=x is refused")


def test_a_model_on_a_hub_has_no_estimate_and_is_checked(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", "train", "--preset", "qwen2_5_7b", *files[2:], f"run_dir={tmp_path / 'run'}"]
    assert main(words) == 0
    assert "\nno estimate: Qwen/Qwen2.5-7B/config.json does not exist; " in capsys.readouterr().out
    assert main([*words, "algorithm.adv_estimator=treep"]) == 2
    assert capsys.readouterr().err.endswith("error: algorithm.adv_estimator=treep is refused: did you mean treepo?\n")


def test_an_option_of_another_type_is_refused_by_the_check_and_not_by_the_estimate(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dry-run", *files, f"run_dir={tmp_path / 'run'}"]
    assert launched(*words, "data.max_prompt_length=long") == 2
    captured = capsys.readouterr()
    assert "no estimate: the configuration is refused\n" in captured.out
    assert captured.err.startswith("error: data.max_prompt_length=long is refused")


# --- a folder that holds a run


@pytest.fixture
def begun(files: list[str], tmp_path: Path) -> list[str]:
    """The words of a run that was begun, and saved at step 25."""
    model, train, held_out = files[1::2]
    words = [*training_overrides(model, [train], [held_out]), f"run_dir={tmp_path / 'run'}"]
    begin(prepare(Options(preset="cpu_quickstart", overrides=tuple(words)), ("trainer",), {})[1])
    (tmp_path / "run/checkpoints/global_step_25").mkdir(parents=True)
    (tmp_path / "run/checkpoints" / NOTE).write_text("25")
    return words


def test_a_dry_run_says_whether_the_run_that_is_there_would_resume(
    begun: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert launched(*begun, "--dry-run") == 0
    assert "nothing left" not in capsys.readouterr().err
    assert launched(*begun, "--dry-run", "trainer.total_training_steps=25") == 0
    assert "nothing left to train: " in capsys.readouterr().err
    assert launched(*begun, "--dry-run", "treepo.max_divergence=3") == 2
    assert "has other options: treepo.max_divergence=2, now 3" in capsys.readouterr().err
    assert launched(*begun, "--dry-run", "treepo.max_divergence=3", "--accept-changes") == 0
    assert "warning: run_dir=" in capsys.readouterr().err


def test_the_trainer_is_told_that_changes_are_accepted(begun: list[str]) -> None:
    def job(*, accept_changes: bool) -> Job:
        options = Options(preset="cpu_quickstart", overrides=tuple(begun), accept_changes=accept_changes)
        return prepare(options, ("trainer",), {})[0].job

    assert "--accept-changes" not in job(accept_changes=False).command
    accepted = job(accept_changes=True).command
    assert accepted[:4] == ("trainer", "--preset", "cpu_quickstart", "--accept-changes")


def test_a_run_at_its_last_step_is_known_before_the_cluster_starts(begun: list[str]) -> None:
    for steps, done in ((25, True), (26, False)):
        assert prepared(*begun, f"trainer.total_training_steps={steps}").job.done is done


def test_help_names_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch", "train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert [path.stem for path in CONFIG_DIR.glob("*.yaml") if path.stem not in text] == []


def test_the_script_runs_from_any_folder_and_hands_everything_on(tmp_path: Path) -> None:
    script = ROOT / "recipe/treepo/run_treepo_train.sh"
    found = subprocess.run(
        ["bash", str(script), "--preset", "no such"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    python, error = found.stderr.splitlines()
    assert python.endswith(f"relative paths count from {ROOT}")
    assert (found.returncode, error[:29]) == (2, "error: --preset no such is no")


SCRIPTS = sorted(path for place in ("scripts", "recipe") for path in (ROOT / place).rglob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_shell_script_can_be_run_as_it_is(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/usr/bin/env bash\n")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_shell_script_passes_shellcheck(script: Path) -> None:
    checker = shutil.which("shellcheck")
    assert checker is not None, "the dev set has it"
    found = subprocess.run([checker, "--severity=style", str(script)], capture_output=True, text=True, timeout=60)
    assert found.stdout == ""
