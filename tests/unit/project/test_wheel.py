"""The wheel holds all of the library, and works where there is no checkout; tests/e2e/test_dapo.py trains with it."""

import json
import os
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest
from installed import build_wheel, install_wheel
from training_run import ROOT

from treepo.commands import COMMANDS

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
OPEN = """
from treepo.commands import COMMANDS, main
for name in COMMANDS:
    assert main([name, "--help"]) == 0
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The folder of the installed commands."""
    return install_wheel(wheel, wheel.parent / "environment")


def run(command: Path, empty: Path, *words: str) -> str:
    """What an installed command says in an empty folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([command, *words], cwd=empty, env=environment, capture_output=True, text=True, check=False)
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


@pytest.mark.nightly
def test_every_preset_of_the_installed_package_composes_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    places = json.loads(run(installed / "python", tmp_path, "-c", COMPOSE))
    package = Path(places.pop("treepo")).parent
    assert package.is_relative_to(installed.parent)
    assert Path(places.pop("configs")) == package / "configs"
    assert set(places) == {str(path.with_suffix("")) for path in PRESETS if path.parent.name != "device"}


@pytest.mark.nightly
def test_every_command_of_the_installed_package_opens_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    said = run(installed / "treepo", tmp_path, "--help")
    assert [name for name in COMMANDS if f"\n  {name} " not in said] == []
    # In one process, as most of the time goes into imports.
    opened = run(installed / "python", tmp_path, "-c", OPEN)
    assert [name for name in COMMANDS if f"Usage: treepo {name} " not in opened] == []


def test_the_sets_of_the_installed_package_are_listed(installed: Path, tmp_path: Path) -> None:
    sets = json.loads(run(installed / "treepo", tmp_path, "data", "list", "--json"))
    assert {found["name"] for found in sets} == {path.stem for path in (ROOT / "treepo/datasets/sets").glob("*.yaml")}
