"""The GPU set installs by one command on a machine without an accelerator, and the code holds on to what is in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from training_run import ROOT

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(14400)]
GIB = 1 << 30


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the GPU set and what the tests need in ``.venv-gpu``."""
    home = tmp_path_factory.mktemp("gpu_set")
    if shutil.disk_usage(home).free < 20 * GIB:
        pytest.skip("the GPU set needs 18 GiB of disk")
    sources = home / "sources"
    left_out = shutil.ignore_patterns(".git", ".venv*", ".cache", "outputs", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, sources, ignore=left_out)
    environment = {**os.environ, "TREEPO_PYTHON": sys.executable, "TREEPO_VENV": ".venv-gpu"}
    command = ["bash", "scripts/setup.sh", "--gpu", "--dev"]
    subprocess.run(command, cwd=sources, env=environment, check=True, timeout=7200)
    return sources


def run(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [project / ".venv-gpu/bin/python", "-m", *words],
        cwd=project,
        env={**environment, "PATH": f"{project}/.venv-gpu/bin:{environment['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=7200,
    )


def test_the_set_is_whole_and_its_packages_accept_each_other(project: Path) -> None:
    checked = run(project, "pip", "check")
    assert (checked.returncode, checked.stdout.strip()) == (0, "No broken requirements found.")


@pytest.mark.parametrize("folder", ["tests/seams", "tests/golden", "tests/unit"])
def test_the_tests_that_need_no_engine_pass_against_the_set(project: Path, folder: str) -> None:
    done = run(project, "pytest", "-q", "-p", "no:cacheprovider", folder)
    assert done.returncode == 0, done.stdout[-6000:]
