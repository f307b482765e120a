"""The recipes to copy parse, name what exists, and start what the launchers take."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from training_run import ROOT
from typer.core import TyperGroup
from typer.main import get_command

from treepo.commands.launch import app
from treepo.config.load import CONFIG_DIR, compose

CLUSTER = ROOT / "scripts" / "cluster"
DOCKERFILES = sorted((ROOT / "scripts" / "docker").iterdir())
INSTRUCTION = re.compile(r"^(ARG|FROM|WORKDIR|COPY|RUN|CMD|ENV)\s+(.+)", re.DOTALL)


def manifest(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text())


def containers(found: Any) -> Iterator[Any]:
    """Every pod's specification in a manifest."""
    if isinstance(found, dict):
        if "containers" in found:
            yield found
        for value in found.values():
            yield from containers(value)
    elif isinstance(found, list):
        for value in found:
            yield from containers(value)


def launched(words: list[str]) -> list[str]:
    """The words behind the launcher's script; they must be those that it takes."""
    script = next(index for index, word in enumerate(words) if word.endswith("run_treepo_train.sh"))
    assert (ROOT / words[script]).is_file()
    command = get_command(app)
    assert isinstance(command, TyperGroup)
    given = command.commands["train"].make_context("train", words[script + 1 :]).params
    compose(given["preset"], given["overrides"] or [])
    return words[script + 1 :]


def test_the_slurm_script_hands_the_preset_and_every_option_to_the_launcher_on_all_nodes(tmp_path: Path) -> None:
    (tmp_path / "srun").write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    script = CLUSTER / "slurm.sbatch"
    done = subprocess.run(
        ["bash", script, "treepo.width=4", "run_dir=/x y"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PRESET": "qwen2_5_1_5b_8gpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    words = done.stdout.splitlines()
    assert words[:2] == ["--kill-on-bad-exit=0", "bash"]
    default = f"run_dir={ROOT}/outputs/slurm/qwen2_5_1_5b_8gpu"
    assert launched(words) == ["--preset", "qwen2_5_1_5b_8gpu", default, "treepo.width=4", "run_dir=/x y"]
    directives = dict(re.findall(r"^#SBATCH --([\w-]+)=(.+)$", script.read_text(), re.MULTILINE))
    assert directives["ntasks-per-node"] == "1", "the launcher is one process per node"


def test_a_job_of_a_running_ray_cluster_keeps_awkward_words_together(tmp_path: Path) -> None:
    (tmp_path / "ray").write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "ray").chmod(0o755)
    given = {"RAY_API_SERVER_ADDRESS": "http://head:8265", "RUN_DIR": "/shared/a run", "PROJECT": "/shared/tree po"}
    done = subprocess.run(
        ["bash", CLUSTER / "ray_job_submit.sh", "data.train_files=[a.parquet,b.parquet]"],
        env={**os.environ, **given, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    words = done.stdout.splitlines()
    assert words[:5] == ["job", "submit", "--", "bash", "-c"]
    place, command = words[5].split(" && exec ")
    assert shlex.split(place) == ["cd", "/shared/tree po"]
    assert shlex.split(command) == [
        *("python", "-m", "treepo", "train", "--preset", "qwen2_5_7b"),
        *("++ray_kwargs.ray_init.address=auto", "run_dir=/shared/a run", "data.train_files=[a.parquet,b.parquet]"),
    ]


@pytest.mark.parametrize("missing", ["RAY_API_SERVER_ADDRESS", "RUN_DIR"])
def test_a_job_of_a_running_ray_cluster_names_the_variable_that_it_lacks(missing: str) -> None:
    given = {"RAY_API_SERVER_ADDRESS": "http://head:8265", "RUN_DIR": "/shared/run"}
    environment = {name: value for name, value in {**os.environ, **given}.items() if name != missing}
    words = ["bash", str(CLUSTER / "ray_job_submit.sh")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert f"{missing}: set it to" in done.stderr


def test_the_kuberay_job_has_the_nodes_and_accelerators_that_its_options_name() -> None:
    job = manifest("kuberay.yaml")["spec"]
    shell = shlex.split(job["entrypoint"])
    assert shell[:2] == ["bash", "-c"]
    words = shlex.split(shell[2].split("exec ")[1])
    assert words[:5] == ["python", "-m", "treepo", "train", "--preset"]
    preset, overrides = words[5], words[6:]
    trainer = compose(preset, overrides).trainer
    (workers,) = job["rayClusterSpec"]["workerGroupSpecs"]
    assert 1 + workers["replicas"] == trainer.nnodes
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"]
    pods = list(containers(job))
    assert len(pods) == 2
    for pod in pods:
        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == trainer.n_gpus_per_node
        assert {"name": "memory", "mountPath": "/dev/shm"} in pod["containers"][0]["volumeMounts"]
    pinned = (ROOT / "constraints/gpu.txt").read_text()
    assert f"ray=={job['rayClusterSpec']['rayVersion']}\n" in pinned


def test_the_volcano_job_starts_the_launcher_on_all_nodes_or_none() -> None:
    job = manifest("volcano.yaml")["spec"]
    (task,) = job["tasks"]
    assert task["replicas"] == job["minAvailable"]
    assert {"env", "svc"} <= set(job["plugins"]), "hosts and rank come from these"
    (pod,) = containers(job)
    assert launched(pod["containers"][0]["command"])[0] == "--preset=qwen2_5_7b"


def test_the_skypilot_task_starts_the_launcher_with_a_preset_that_is_there() -> None:
    task = manifest("skypilot.yaml")
    assert (CONFIG_DIR / f"{task['envs']['PRESET']}.yaml").is_file()
    assert task["resources"]["accelerators"].endswith(f":{compose(task['envs']['PRESET'], []).trainer.n_gpus_per_node}")
    command = task["run"].splitlines()[-1]
    for name, value in task["envs"].items():
        command = command.replace(f'"${name}"', value)
    launched(shlex.split(command))
    checker = shutil.which("shellcheck")
    assert checker is not None, "the dev set has it"
    exports = "".join(f"export {name}={name}\n" for name in task["envs"])
    for part in ("setup", "run"):
        words = [checker, "-e", "SC1090,SC1091", "-"]
        script = f"#!/usr/bin/env bash\n{exports}{task[part]}"
        found = subprocess.run(words, input=script, capture_output=True, text=True, check=False, timeout=60)
        assert found.stdout == ""


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_is_made_of_known_instructions_and_files_that_exist(file: Path) -> None:
    text = re.sub(r"\\\n\s*", " ", file.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    instructions = [found.groups() for line in lines if (found := INSTRUCTION.match(line))]
    assert len(instructions) == len(lines)
    assert "FROM" in [name for name, _ in instructions][:2]
    for name, words in instructions:
        if name == "RUN":
            checked = subprocess.run(
                [str(shutil.which("shellcheck")), "--shell=sh", "-"],
                input=words,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert checked.stdout == ""
        for path in re.findall(r"(?:scripts|constraints)/[\w./]+", words):
            assert (ROOT / path).exists(), path
