"""The command ``treepo``: what it lists, what it imports, and what it says of a command line that it cannot read."""

import json
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from training_run import ROOT

from treepo.commands import COMMANDS, main
from treepo.config.load import CONFIG_DIR
from treepo.launch.nodes.job import Launch

HEAVY = ("torch", "verl", "ray", "vllm", "transformers")
NEEDED_TO_LIST = ("hydra", "omegaconf", "numpy", "pyarrow", "matplotlib", "huggingface_hub", "jinja2")
SUBCOMMANDS = {
    "launch": ("train", "eval"),
    "check": ("train", "eval"),
    "data": ("list", "prepare", "download", "verify"),
}
WORDS = [[name] for name in COMMANDS] + [[name, inner] for name, found in SUBCOMMANDS.items() for inner in found]


def imported(*words: str) -> set[str]:
    """The top-level modules that a command line has imported when it is done."""
    code = (
        "import json, sys\nfrom treepo.commands import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def test_every_file_is_a_command_and_every_command_a_file() -> None:
    shared = {"__init__", "options"}
    assert {path.stem for path in (ROOT / "treepo/commands").glob("*.py")} == {*COMMANDS, *shared}


def test_listing_the_commands_imports_none_of_them() -> None:
    found = imported("--help")
    assert found & {*HEAVY, *NEEDED_TO_LIST} == set()


@pytest.mark.parametrize("name", ["train", "launch", "compare", "data"])
def test_help_of_a_command_waits_for_neither_torch_nor_verl(name: str) -> None:
    words = [name, *SUBCOMMANDS.get(name, ())[:1], "--help"]
    assert imported(*words) & set(HEAVY) == set()


def test_a_composed_configuration_is_printed_without_torch_and_verl() -> None:
    assert imported("train", "--preset", "cpu_quickstart", "--cfg", "job") & set(HEAVY) == set()


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_help_has_the_commands_own_name_and_lines_for_a_terminal(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Usage: treepo {' '.join(words)} ")
    assert max(map(len, said.splitlines())) <= 80


def test_the_list_shows_every_line_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    said = capsys.readouterr().out
    assert [line for line in COMMANDS.values() if said.count(line) != 2] == []


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"treepo {import_module('treepo').__version__}\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("trian", "No such command 'trian'. Did you mean 'train'?; see treepo --help"),
        ("train --widht 3", "No such option: --widht; see treepo train --help"),
        ("launch train --lost_limit 3", "No such option: --lost_limit (Possible options: --join-limit, --lost-limit, "),
        ("launch", "Missing command; see treepo launch --help"),
        ("train --preset cpu_quikstart", "--preset cpu_quikstart is not a preset; there are: cpu_quickstart, "),
        ("eval --preset avg17", "--preset avg17 is not a preset; there are: avg16, "),
        ("quickstart run_dir=x", "run_dir is refused here; choose the place of the result folders with --out"),
        ("quickstart treepo.widht=8", "treepo.widht is not an option; did you mean treepo.width?"),
        ("train treepo", "'treepo' is not an override; write option=value, as in treepo.width=8"),
        ("train treepo.environment.name=absent:World", "treepo.environment.name=absent:World cannot be imported: "),
    ],
)
def test_a_mistake_is_one_line_and_status_2(words: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {line}")
    assert (captured.err.count("\n"), captured.out) == (1, "")


def test_presets_of_another_folder_are_found_and_options_may_stand_anywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("defaults:\n  - cpu_quickstart\n  - _self_\ntreepo:\n  width: 6\n")
    words = ["train", "treepo.max_depth=3", "--config-dir", str(tmp_path), "--preset", "mine", "--cfg", "job"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "  width: 6\n" in said
    assert "  max_depth: 3\n" in said


def test_paths_count_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["launch", "train", "--preset", "cpu_quickstart", "--dry-run", "--train", "no.parquet"]) == 2
    captured = capsys.readouterr()
    assert f"run_dir: {tmp_path}/" in captured.out
    assert captured.err.startswith("error: data.train_files: no.parquet does not exist; ")


@pytest.mark.parametrize(("kind", "preset"), [("train", "cpu_quickstart"), ("eval", "quickstart")])
def test_the_command_that_a_launch_runs_is_one_that_treepo_reads(
    kind: str, preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launched: list[Launch] = []
    for module in ("training", "evaluation"):
        monkeypatch.setattr(f"treepo.launch.{module}.run", lambda launch: launched.append(launch) or 3)
    words = ["--preset", preset, "--config-dir", str(tmp_path), "--model", "/models/a b", f"run_dir={tmp_path / 'run'}"]
    assert main(["launch", kind, *words]) == 3
    python, option, module, *command = launched[0].job.command
    assert (python, option, module, command[0]) == (sys.executable, "-m", "treepo", kind)
    assert main([*command, "--cfg", "job"]) == 0
    printed = capsys.readouterr().out
    assert "/models/a b" in printed
    assert f"run_dir: {tmp_path / 'run'}\n" in printed


@pytest.mark.parametrize(
    ("module", "command"),
    [("treepo", "treepo"), ("recipe.treepo.main_treepo", "treepo train"), ("recipe.treepo.main_eval", "treepo eval")],
)
def test_modules_are_the_command_too(module: str, command: str) -> None:
    words = (sys.executable, "-m", module, "--help")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"Usage: {command} [OPTIONS]")


def test_modules_where_one_stands_can_be_named_in_options(tmp_path: Path) -> None:
    (tmp_path / "my_task.py").touch()
    code = "import sys\nfrom treepo.commands import run\ntry:\n    run()\nfinally:\n    import my_task"
    # As of an installed script, whose own folder comes first.
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/treepo"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script, "--version"], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_the_scripts_of_the_recipe_stand_alone(tmp_path: Path) -> None:
    folder = tmp_path / "recipe/treepo"
    shutil.copytree(ROOT / "recipe/treepo", folder)
    bare = tmp_path / "bin/python3"
    bare.parent.mkdir()
    bare.write_text('#!/bin/sh\necho "$PWD" "$@"\n')
    bare.chmod(0o755)
    for script, kind in (("run_treepo_train.sh", "train"), ("run_treepo_eval.sh", "eval")):
        done = subprocess.run(
            ["bash", folder / script, "--preset", "a b"],
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{bare.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"{tmp_path} -m treepo launch {kind} --preset a b\n"


def test_completion_knows_the_presets() -> None:
    environment = {
        **os.environ,
        "_TREEPO_COMPLETE": "complete_bash",
        "COMP_WORDS": "treepo launch train --preset ",
        "COMP_CWORD": "4",
    }
    done = subprocess.run([sys.executable, "-m", "treepo"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == sorted(path.stem for path in CONFIG_DIR.glob("*.yaml"))
