"""What the wheelhouse collects is all that an installation without a network needs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from training_run import ROOT

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(7200)]


def test_the_cpu_set_installs_from_the_collected_files_alone(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    left_out = shutil.ignore_patterns(".git", ".venv*", ".cache", "outputs", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, sources, ignore=left_out)
    wheels, environment = tmp_path / "wheels", tmp_path / "environment"
    python = {**os.environ, "TREEPO_PYTHON": sys.executable}
    subprocess.run(["bash", "scripts/wheelhouse.sh", wheels], cwd=sources, env=python, check=True, timeout=3600)
    alone = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "TREEPO_VENV": str(environment)}
    subprocess.run(["bash", "scripts/setup.sh"], cwd=sources, env={**python, **alone}, check=True, timeout=3600)
    imports = "import torch, verl, vllm, treepo; print(treepo.__file__)"
    found = subprocess.run(
        [environment / "bin/python", "-c", imports],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=True,
        timeout=1200,
    )
    assert found.stdout.splitlines()[-1] == str(sources / "treepo/__init__.py")
