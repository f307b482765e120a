"""The evaluation's command line: presets, variables, short forms, nodes, the dry run."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from training_run import ROOT, write_sums

from treepo.commands import main
from treepo.commands.launch import evaluation_overrides
from treepo.config import ConfigError
from treepo.evaluation import BenchmarkPlan, RunPlan, RunWriter
from treepo.evaluation.ask.setup import _known, check
from treepo.launch.evaluation import VARIABLES, from_environment, prepare
from treepo.launch.nodes.job import Launch
from treepo.launch.options import Options

SHAPE = "vocab_size=300,hidden_size=64,intermediate_size=128,num_hidden_layers=2,num_attention_heads=2"
TWO_NODES = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "head"}


def prepared(*words: str, preset: str = "avg16", environment: dict[str, str] | None = None) -> Launch:
    return prepare(Options(preset=preset, overrides=words), ("evaluate",), environment or {})[0]


def launched(*words: str) -> int:
    """The exit status of a launch, or of its dry run."""
    return main(["launch", "eval", *words])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    sizes = {name: int(value) for name, value in (pair.split("=") for pair in SHAPE.split(","))}
    (folder / "config.json").write_text(json.dumps({**sizes, "max_position_embeddings": 512}))
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_the_job_gets_the_preset_and_every_override() -> None:
    job = prepared("run_dir=/tmp/x", "evaluation.data_parallel_size=2", preset="avg32").job
    assert job.command == ("evaluate", "--preset", "avg32", "run_dir=/tmp/x", "evaluation.data_parallel_size=2")
    assert (job.kind, job.log, job.accelerators, job.run_dir) == ("evaluation", "evaluation.log", 2, Path("/tmp/x"))
    assert job.resumes == "the same command resumes in /tmp/x"


def test_variables_stand_for_options_and_what_is_typed_wins() -> None:
    environment = {
        "MODEL_PATH": "/m,1/a b=c",
        "BENCHMARKS": "aime_2024, math_500 /t/x.parquet",
        "N": "4",
        "TEMPERATURE": "1.0",
        "SAMPLING": "both",
        "DIVERGENCES": "[2,4]",
        "TP_SIZE": "2",
        "OUTPUT": "/out/a b",
        "UNRELATED": "x",
    }
    config = prepare(Options(preset="avg16", overrides=("evaluation.n=8",)), ("evaluate",), environment)[1]
    found = config.evaluation
    assert (found.model, found.n, found.temperature, found.sampling) == ("/m,1/a b=c", 8, 1.0, "both")
    assert list(found.benchmarks) == ["aime_2024", "math_500", "/t/x.parquet"]
    assert (list(found.divergences), found.tensor_parallel_size, config.run_dir) == ([2, 4], 2, "/out/a b")
    assert from_environment({}) == []


def test_help_names_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    assert launched("--help") == 0
    words = capsys.readouterr().out.replace(",", " ").replace(".", " ").split()
    assert [name for name in VARIABLES if name not in words] == []


def test_short_forms_are_hydra_overrides() -> None:
    words = evaluation_overrides("/m,1/a b", ["/t/a b.parquet", "math_500"], 5, "qwen", "tree", ["2", "8"])
    found = prepare(Options(preset="avg16", overrides=tuple(words)), ("evaluate",), {})[1].evaluation
    assert (found.model, list(found.benchmarks)) == ("/m,1/a b", ["/t/a b.parquet", "math_500"])
    assert (found.max_questions, found.prompt_template) == (5, "qwen")
    assert (found.sampling, list(found.divergences)) == ("tree", [2, 8])


def test_the_scheduler_decides_over_a_presets_number_of_nodes() -> None:
    launch = prepared(environment=TWO_NODES)
    assert launch.job.command[-1] == "evaluation.nodes=2"
    assert (launch.cluster.nodes, launch.cluster.rank, launch.job.accelerators) == (2, 1, 8)
    with pytest.raises(ConfigError, match=r"evaluation.nodes=3 .*contradicts NNODES=2, NODE_RANK=1"):
        prepared("evaluation.nodes=3", environment=TWO_NODES)
    with pytest.raises(ConfigError, match=r"evaluation.nodes=2 is refused: .*TREEPO_NODE_RANK"):
        prepared("evaluation.nodes=2")


def test_a_dry_run_prints_configuration_memory_and_servers(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("N", "4")
    table = write_sums(tmp_path / "sums.parquet", 4, seed=0)
    words = ["--preset", "quickstart", "--dry-run", "--model", str(model), "--benchmark", str(table)]
    assert launched(*words, f"run_dir={tmp_path / 'run'}", "treepo.max_depth=4") == 0
    captured = capsys.readouterr()
    assert "from the environment: evaluation.n=4\n" in captured.out
    assert f"    path: {model}\n" in captured.out
    assert "engine weights" in captured.out
    assert "1 servers, 64 prompts in flight" in captured.out
    assert "warning: treepo.max_depth x treepo.segment_length = 128 is below" in captured.err
    assert not (tmp_path / "run").exists()


def test_a_dry_run_without_the_model_prints_all_and_then_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--dry-run", "--model", "/nowhere", "--model-shape", SHAPE, f"evaluation.data_dir={tmp_path}"]
    assert launched(*words) == 2
    captured = capsys.readouterr()
    assert "cache per trajectory" in captured.out
    assert captured.err.startswith("error: evaluation.model=/nowhere is refused: there is no such folder")


def test_without_an_estimate_a_dry_run_checks_all_the_same(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_sums(tmp_path / "sums.parquet", 4, seed=0)
    words = ["--preset", "quickstart", "--dry-run", "--model", str(model), "--benchmark", str(table)]
    words += [f"run_dir={tmp_path / 'run'}", "--model-shape", "hidden_size=64"]
    assert launched(*words) == 0
    captured = capsys.readouterr()
    assert "\nno estimate: --model-shape hidden_size=64 lacks vocab_size" in captured.out
    assert "1 servers, 32 prompts in flight" in captured.out
    assert launched("--dry-run", "--model", "/nowhere", f"evaluation.data_dir={tmp_path}") == 2
    captured = capsys.readouterr()
    assert "\nno estimate: /nowhere/config.json does not exist; " in captured.out
    assert captured.err.startswith("error: evaluation.model=/nowhere is refused")


@pytest.mark.parametrize(
    ("words", "difference"),
    [
        (["evaluation.temperature=0.5"], "options.temperature=1.0, now 0.5"),
        (["evaluation.n=4"], "samples=8, now 4"),
        (["--sampling", "independent"], "samplings=['independent', 'tree d=2', 'tree d=4'], now ['independent']"),
        (["treepo.segment_length=16", "treepo.max_depth=10"], "options.treepo.segment_length=32, now 16"),
        (["--benchmark", "@other.parquet"], "benchmarks=['sums'], now ['other', 'sums']"),
    ],
)
def test_a_folder_that_holds_another_evaluation_is_refused_before_anything_is_loaded(
    words: list[str], difference: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("sums", "other"):
        write_sums(tmp_path / f"{name}.parquet", 4, seed=0)
    base = ["--preset", "quickstart", "--dry-run", "--model", str(model), f"run_dir={tmp_path / 'run'}"]
    base += ["--benchmark", str(tmp_path / "sums.parquet")]
    own = [
        *evaluation_overrides(str(model), [str(tmp_path / "sums.parquet")]),
        f"run_dir={tmp_path / 'run'}",
    ]
    setup = check(prepare(Options(preset="quickstart", overrides=tuple(own)), ("evaluate",), {})[1])
    plan = RunPlan(
        model=setup.model.name,
        samples=setup.options.n,
        samplings=setup.options.samplings,
        benchmarks={"sums": BenchmarkPlan(questions=4, weight=4)},
        # The last one is known only once the model is loaded.
        options={**_known(setup), "weights": "of the model"},
    )
    RunWriter(tmp_path / "run", plan).close()
    assert launched(*base) == 0
    capsys.readouterr()
    assert launched(*base, *(word.replace("@", f"{tmp_path}/") for word in words)) == 2
    assert f"error: {tmp_path / 'run'} was begun with {difference}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["preset=avg32"], "preset=avg32 is not an option; to choose the preset write --preset avg32"),
        (["evaluation.tempature=1"], "evaluation.tempature is not an option; did you mean evaluation.temperature?"),
        (["--sampling", "trees"], "evaluation.sampling='trees' is refused"),
        (["--join-limit", "0"], "--join-limit must be above 0"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(words: list[str], refusal: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert launched(*words) == 2
    assert capsys.readouterr().err.startswith(f"error: {refusal}")


def test_the_script_runs_from_any_folder(tmp_path: Path) -> None:
    script = ROOT / "recipe/treepo/run_treepo_eval.sh"
    environment = {**os.environ, "TEMPERATURE": "-1"}
    found = subprocess.run(
        ["bash", str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    python, error = found.stderr.splitlines()
    assert python.endswith(f"relative paths count from {ROOT}")
    assert found.returncode == 2
    assert error.startswith("error: evaluation.temperature=-1 is refused")
