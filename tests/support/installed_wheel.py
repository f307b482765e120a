"""The wheel of this checkout, installed into an environment beside the packages of the tests' own."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from training_run import ROOT

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
