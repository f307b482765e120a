"""This checkout installed: its wheel in an environment beside the tests' own packages, or its entry points alone."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

from training_run import ROOT

GROUP = "verl.plugins"
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")


def build_wheel(folder: Path) -> Path:
    """Builds the wheel.

    Args:
        folder: An empty folder for it; setuptools builds beside the sources, so that they are copied there.
    """
    for name in ("treepo", "configs"):
        shutil.copytree(ROOT / name, folder / "sources" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        shutil.copy(ROOT / name, folder / "sources")
    words = ("pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "--no-index", "-w", folder, folder / "sources")
    subprocess.run([sys.executable, "-m", *map(str, words)], check=True, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def install_wheel(wheel: Path, environment: Path) -> Path:
    """Installs a wheel alone; what it depends on is found in the environment of the tests, but for this checkout.

    Args:
        wheel: The wheel.
        environment: A folder for the new environment.

    Returns:
        The folder of its commands.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin/python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip()
    # A path file of a folder that a path file names is not read: so the checkout's editable installation stays out.
    others = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    Path(own, "tests_environment.pth").write_text("".join(f"{path}\n" for path in others))
    words = ("--python", python, "install", "-q", "--no-deps", "--no-index", wheel)
    subprocess.run([sys.executable, "-m", "pip", *map(str, words)], check=True)
    return environment / "bin"


def entry_points() -> dict[str, str]:
    """The plugins that the project declares."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return declared["project"]["entry-points"][GROUP]


def install_metadata(folder: Path) -> str:
    """Writes what pip would write of the entry points.

    Args:
        folder: A folder for it.

    Returns:
        The ``PYTHONPATH`` with which a process finds this checkout and its plugin.
    """
    metadata = folder / "treepo-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: treepo\nVersion: 0\n")
    lines = [f"[{GROUP}]", *(f"{name} = {target}" for name, target in entry_points().items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return os.pathsep.join([str(folder), str(ROOT), *filter(None, sys.path)])
