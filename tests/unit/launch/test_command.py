"""The command line: presets, short forms, nodes, the dry run."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tiny_stack import write_tiny_model
from training_run import ROOT, write_sums

from treepo.compose import CONFIG_DIR
from treepo.config import ConfigError
from treepo.launch.command import main, parser, prepare
from treepo.launch.job import Launch

TWO_NODES = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "head"}
SHAPE = "vocab_size=300,hidden_size=64,intermediate_size=128,num_hidden_layers=2,num_attention_heads=2"


def prepared(*words: str, environment: dict[str, str] | None = None) -> Launch:
    arguments = ["--preset", "cpu_quickstart", *words]
    return prepare(parser().parse_intermixed_args(arguments), ["trainer"], environment or {})[0]


def test_the_trainer_gets_the_preset_and_every_override() -> None:
    job = prepared("treepo.width=4", "run_dir=/tmp/x/run").job
    assert job.command == ("trainer", "--config-name", "cpu_quickstart", "treepo.width=4", "run_dir=/tmp/x/run")
    assert (job.run_dir, job.checkpoints) == (Path("/tmp/x/run"), Path("/tmp/x/run/checkpoints"))
    assert (job.resources.num_cpus, job.resources.num_gpus, job.accelerators) == (16, 1, 1)


def test_short_forms_are_hydra_overrides_also_for_awkward_paths() -> None:
    words = ["--model", "/m,1/a b=c", "--train", "/t/a b.parquet", "--train", "/t/2.parquet", "--val", "/v.parquet"]
    options = parser().parse_intermixed_args(["--preset", "cpu_quickstart", *words])
    config = prepare(options, ["trainer"], {})[1]
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
    assert prepared("trainer.nnodes=2", "--dry-run").cluster.nodes == 1


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
        assert main(["trainer"], ["--preset", "treepo_trainer", "model_engine=megatron", *words]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("error: model_engine=megatron ")
        assert (captured.err.count("\n"), captured.out) == (1, "")


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--join-limit", "0"], "--join-limit must be above 0"),
        (["treepo.widht=3"], "treepo.widht is not an option; did you mean treepo.width"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(words: list[str], refusal: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trainer"], ["--preset", "cpu_quickstart", *words]) == 2
    assert capsys.readouterr().err.startswith(f"error: {refusal}")


@pytest.mark.parametrize("preset", sorted(path.stem for path in CONFIG_DIR.glob("*.yaml")))
def test_every_preset_is_dry_run(preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, table = write_tiny_model(tmp_path / "model"), str(write_sums(tmp_path / "sums.parquet", 1024, seed=0))
    words = ["--preset", preset, "--dry-run", "--model", str(model), "--train", table, "--val", table]
    assert main(["trainer"], words) == 0, capsys.readouterr().err
    output = capsys.readouterr().out
    assert f"    path: {model}\n" in output
    assert "memory expected per accelerator" in output
    assert not (tmp_path / "run").exists()


def test_a_dry_run_without_the_model_prints_all_and_then_says_what_would_be_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--preset", "cpu_quickstart", "--dry-run", "--model", "/nowhere", "--model-shape", SHAPE]
    assert main(["trainer"], words) == 2
    captured = capsys.readouterr()
    assert "memory expected per accelerator" in captured.out
    assert captured.err.startswith("error: ")


def test_help_names_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["trainer"], ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert [path.stem for path in CONFIG_DIR.glob("*.yaml") if path.stem not in text] == []


def test_the_script_runs_from_any_folder_and_hands_everything_on(tmp_path: Path) -> None:
    script = ROOT / "recipe/treepo/run_treepo_train.sh"
    found = subprocess.run(
        ["bash", str(script), "--preset", "no such"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    python, error = found.stderr.splitlines()
    assert python.endswith(f"relative paths count from {ROOT}")
    assert (found.returncode, error[:34]) == (2, "error: --config-name no such is no")


SCRIPTS = sorted(path for place in ("scripts", "recipe") for path in (ROOT / place).rglob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_shell_script_passes_shellcheck(script: Path) -> None:
    checker = shutil.which("shellcheck")
    assert checker is not None, "the dev set has it"
    found = subprocess.run([checker, "--severity=style", str(script)], capture_output=True, text=True, timeout=60)
    assert found.stdout == ""
