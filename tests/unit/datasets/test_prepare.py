"""What is prepared stays, what is damaged is made anew, and nothing is ever half there."""

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dataset_workshop import COMMIT, SCHEMAS, Workshop
from training_run import ROOT

import treepo
from treepo.datasets.errors import DataError
from treepo.datasets.manifest import read_manifest, verify
from treepo.datasets.spec import Message


def content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.iterdir() if path.name != ".lock")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_what_is_up_to_date_is_left_alone(workshop: Workshop) -> None:
    workshop.prepare(*workshop.sets)
    before = content(workshop.data)
    workshop.stages.clear()
    outcomes = workshop.prepare(*workshop.sets)
    assert [outcome.written for outcome in outcomes] == [False] * len(workshop.sets)
    assert {stage for _, stage in workshop.stages} == {"checking"}
    assert content(workshop.data) == before


def test_force_prepares_anew(workshop: Workshop) -> None:
    workshop.prepare("aime_2024")
    assert workshop.prepare("aime_2024", force=True)[0].written


def recorded(path: Path) -> dict[str, str | int]:
    data = path.read_bytes()
    return {"path": path.name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"PAR1")])
def test_what_no_longer_agrees_with_the_manifest_is_prepared_anew(
    workshop: Workshop, damage: Callable[[Path], object]
) -> None:
    workshop.prepare("aime_2024", "medqa")
    before = content(workshop.data)
    damage(workshop.data / "aime_2024.parquet")
    outcomes = workshop.prepare("aime_2024", "medqa")
    assert {outcome.name: outcome.written for outcome in outcomes} == {"aime_2024": True, "medqa": False}
    assert content(workshop.data) == before


def test_another_declaration_or_revision_is_prepared_anew(workshop: Workshop) -> None:
    workshop.prepare("aime_2024")
    workshop.declare("aime_2024", template=[Message(role="user", content="{question}")])
    assert workshop.prepare("aime_2024")[0].written
    assert workshop.prepare("aime_2024", revisions={"aime_2024": COMMIT})[0].written
    assert not workshop.prepare("aime_2024", revisions={"aime_2024": COMMIT})[0].written


def test_a_training_set_is_prepared_anew_when_a_benchmark_changes(workshop: Workshop) -> None:
    workshop.prepare("deepscaler")
    assert not workshop.prepare("deepscaler")[0].written
    workshop.declare("medqa", revision=COMMIT)
    assert workshop.prepare("deepscaler")[0].written


def test_the_same_sources_give_the_same_bytes(workshop: Workshop) -> None:
    workshop.prepare(*workshop.sets)
    first = content(workshop.data)
    workshop.data = workshop.data.with_name("again")
    workshop.prepare(*reversed(workshop.sets))
    assert content(workshop.data) == first


def test_the_manifest_tells_where_everything_came_from(workshop: Workshop) -> None:
    workshop.note_commit("math_500", workshop.sets["math_500"].revision)
    workshop.write("math_500", [*(SCHEMAS["math_500"](i) for i in range(3)), {**SCHEMAS["math_500"](3), "answer": ""}])
    workshop.prepare("math_500")
    told = json.loads((workshop.data / "manifest.json").read_text())["sets"]["math_500"]
    source, output = workshop.path("math_500"), workshop.data / "math_500.parquet"
    assert told["spec"]["repository"] == "HuggingFaceH4/MATH-500"
    assert told["spec"]["licence"] == "not declared"
    assert told["spec"]["template"][0]["role"] == "system"
    assert told["revision"] == workshop.sets["math_500"].revision
    assert told["sources"] == [recorded(source)]
    assert told["output"] == recorded(output)
    assert (told["rows_read"], told["rows_written"], told["dropped"]) == (4, 3, {"empty_answer": 1})
    assert told["overlap"] is None
    assert told["tool_version"] == treepo.__version__


def test_preparing_one_set_keeps_the_others_in_the_manifest(workshop: Workshop) -> None:
    workshop.prepare("medqa")
    workshop.prepare("aime_2024")
    assert list(read_manifest(workshop.data).sets) == ["aime_2024", "medqa"]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, "tests/support")
import pyarrow.parquet as pq
import treepo.datasets.files as files
from dataset_workshop import open_workshop

shop = open_workshop(Path(sys.argv[1]))
if sys.argv[2] == "write":
    write = pq.write_table
    def half(table, path, **options):
        write(table, path, **options)
        if "medqa" in path.name:
            path.write_bytes(path.read_bytes()[:100])
            os.kill(os.getpid(), signal.SIGKILL)
    pq.write_table = half
else:
    replace = Path.replace
    def instead(self, target):
        if target.name == sys.argv[2] and "medqa.parquet" in os.listdir(target.parent):
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(self, target)
    Path.replace = instead
shop.prepare("aime_2024", "medqa", "deepscaler")
"""


@pytest.mark.parametrize("moment", ["write", "manifest.json"])
def test_a_kill_leaves_whole_files_alone_and_the_next_run_resumes(
    workshop: Workshop, tmp_path: Path, moment: str
) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    left = {path.name for path in workshop.data.iterdir() if path.suffix == ".parquet"}
    assert left == ({"aime_2024.parquet"} if moment == "write" else {"aime_2024.parquet", "medqa.parquet"})
    assert list(read_manifest(workshop.data).sets) == ["aime_2024"]
    outcomes = workshop.prepare("aime_2024", "medqa", "deepscaler")
    assert {outcome.name: outcome.written for outcome in outcomes} == {
        "aime_2024": False,
        "medqa": True,
        "deepscaler": True,
    }
    assert verify(workshop.data) == []
    assert not list(workshop.data.glob("*.unfinished"))


def test_verify_finds_nothing_in_what_was_prepared(workshop: Workshop) -> None:
    workshop.prepare(*workshop.sets)
    assert verify(workshop.data) == []


def test_verify_names_what_is_missing_changed_or_strange(workshop: Workshop) -> None:
    workshop.prepare("aime_2024", "aime_2025", "amc_2023", "medqa")
    (workshop.data / "aime_2024.parquet").unlink()
    path = workshop.data / "aime_2025.parquet"
    path.write_bytes(path.read_bytes()[::-1])
    (workshop.data / "amc_2023.parquet").write_bytes(b"")
    (workshop.data / "other.parquet").write_bytes(b"")
    lines = verify(workshop.data)
    assert len(lines) == 4
    assert lines[0] == f"aime_2024: {workshop.data}/aime_2024.parquet is missing; prepare aime_2024 anew"
    assert "aime_2025.parquet has SHA-256 " in lines[1]
    assert "amc_2023.parquet has 0 bytes, the manifest says " in lines[2]
    assert lines[3] == f"{workshop.data}/other.parquet is not in the manifest"


def test_verify_looks_into_the_file_as_well(workshop: Workshop) -> None:
    workshop.prepare("aime_2024")
    path = workshop.data / "manifest.json"
    path.write_text(path.read_text().replace('"rows_written": 3', '"rows_written": 30'))
    (line,) = verify(workshop.data)
    assert "aime_2024.parquet has 3 rows, the manifest says 30" in line


def test_verify_needs_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest.json does not exist; prepare the data first"):
        verify(tmp_path)
