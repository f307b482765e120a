"""The wheel holds all of the library, and works from a folder that is not the checkout."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from training_run import ROOT

SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
PRESETS = sorted(path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml"))

COMPOSE = """
import json, sys
from pathlib import Path
import treepo
from treepo.config.load import CONFIG_DIR, compose
from treepo.evaluation.config import PRESETS_DIR, compose_evaluation
places = {"treepo": treepo.__file__, "configs": str(CONFIG_DIR)}
for path in sorted(CONFIG_DIR.glob("*.yaml")):
    places[path.stem] = str(compose(path.stem, []).run_dir)
for path in sorted(PRESETS_DIR.glob("*.yaml")):
    places["evaluation/" + path.stem] = str(compose_evaluation(path.stem, []).run_dir)
print(json.dumps(places))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Of a copy: setuptools builds beside the sources.
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("treepo", "configs"):
        shutil.copytree(ROOT / name, folder / "sources" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        shutil.copy(ROOT / name, folder / "sources")
    words = ("pip", "wheel", "-q", "--no-build-isolation", "--no-deps", "--no-index", "-w", folder, folder / "sources")
    subprocess.run([sys.executable, "-m", *map(str, words)], check=True, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    site = wheel.parent / "site"
    words = ("pip", "install", "-q", "--no-deps", "--no-index", "--target", site, wheel)
    subprocess.run([sys.executable, "-m", *map(str, words)], check=True, cwd=wheel.parent)
    return site


def python(site: Path, empty: Path, *words: str) -> str:
    """What a Python says that finds the installed package first, in an empty folder."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(empty.iterdir()) == []
    return done.stdout


def test_the_wheel_holds_every_file_of_the_library_and_every_preset_as_it_is(wheel: Path) -> None:
    library = {path for path in (ROOT / "treepo").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    expected = {str(path.relative_to(ROOT)): path for path in library}
    expected |= {f"treepo/configs/{path}": ROOT / "configs" / path for path in PRESETS}
    with ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert found == set(expected)
        assert [name for name, path in expected.items() if archive.read(name) != path.read_bytes()] == []


def test_every_preset_of_the_installed_package_composes_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    places = json.loads(python(installed, tmp_path, "-c", COMPOSE))
    assert Path(places.pop("treepo")) == installed / "treepo/__init__.py"
    assert Path(places.pop("configs")) == installed / "treepo/configs"
    assert set(places) == {str(path.with_suffix("")) for path in PRESETS if path.parent.name != "device"}


@pytest.mark.parametrize("room", ["datasets", "evaluation", "viewer", "quickstart"])
def test_every_command_of_the_installed_package_opens_from_an_empty_folder(
    room: str, installed: Path, tmp_path: Path
) -> None:
    assert "Usage" in python(installed, tmp_path, "-m", f"treepo.{room}", "--help")


def test_the_sets_of_the_installed_package_are_listed(installed: Path, tmp_path: Path) -> None:
    sets = json.loads(python(installed, tmp_path, "-m", "treepo.datasets", "list", "--json"))
    assert {found["name"] for found in sets} == {path.stem for path in (ROOT / "treepo/datasets/sets").glob("*.yaml")}
