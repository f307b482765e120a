"""``manifest.json``: what is in the data folder, where it came from and what was left out."""

import json
from pathlib import Path
from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from treepo.config import ConfigError
from treepo.datasets.errors import DataError
from treepo.datasets.files import sha256_of
from treepo.datasets.overlap import Overlap
from treepo.datasets.spec import SetSpec
from treepo.datasets.table import check_table
from treepo.files.whole import write_text_whole

MANIFEST = "manifest.json"
Count = Annotated[int, Field(ge=0)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(_Model):
    """A file: its path in the repository or in the data folder, its checksum and its size."""

    path: str
    sha256: str
    bytes: Count


class OverlapRecord(_Model):
    """The check of a training set against the benchmarks: rows found, by benchmark."""

    mode: Overlap
    found: dict[str, Count]


class Entry(_Model):
    """One set.

    Attributes:
        spec: The set's declaration, with licence, template, answer type and metric.
        revision: The commit of the sources; none where files were given by hand.
        sources: The files read.
        output: The file written.
        rows_read: Rows of the sources.
        rows_written: Rows of the output.
        dropped: Rows left out, by reason.
        repeated: Rows kept although their question came before.
        overlap: The check against the benchmarks, of a training set.
        recipe: Fingerprint of everything that decides the output but the sources' content.
        tool_version: Version of TreePO that wrote it.
    """

    spec: SetSpec
    revision: str | None
    sources: list[FileRecord]
    output: FileRecord
    rows_read: Count
    rows_written: Count
    dropped: dict[str, Count]
    repeated: Count
    overlap: OverlapRecord | None
    recipe: str
    tool_version: str


class Manifest(_Model):
    """All sets of a folder, by name."""

    format: Literal[1] = 1
    sets: dict[str, Entry] = {}


def read_manifest(folder: Path) -> Manifest:
    """The folder's manifest, an empty one where there is none.

    Raises:
        DataError: It cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return Manifest()
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise DataError(f"{path} is no manifest ({place}: {problem['msg']}); delete it and prepare anew") from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest whole, with the sets in the order of their names."""
    content = manifest.model_dump(mode="json")
    content["sets"] = dict(sorted(content["sets"].items()))
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_text_whole(folder / MANIFEST, text)


def record(path: Path, name: str) -> FileRecord:
    """The record of a file under a name."""
    return FileRecord(path=name, sha256=sha256_of(path), bytes=path.stat().st_size)


def problem_of(folder: Path, entry: Entry) -> str | None:
    """What is wrong with a set's output, None where it is as the manifest says."""
    path = folder / entry.output.path
    if not path.is_file():
        return f"{path} is missing"
    if path.stat().st_size != entry.output.bytes:
        return f"{path} has {path.stat().st_size} bytes, the manifest says {entry.output.bytes}"
    if (found := sha256_of(path)) != entry.output.sha256:
        return f"{path} has SHA-256 {found}, the manifest says {entry.output.sha256}"
    return None


def verify(folder: Path) -> list[str]:
    """Holds a folder to its manifest.

    Returns:
        One line per problem.

    Raises:
        DataError: There is no manifest, or it cannot be read.
    """
    if not (folder / MANIFEST).is_file():
        raise DataError(f"{folder / MANIFEST} does not exist; prepare the data first")
    manifest = read_manifest(folder)
    problems = []
    for name, entry in sorted(manifest.sets.items()):
        problem = problem_of(folder, entry) or _content_problem(folder / entry.output.path, entry)
        if problem is not None:
            problems.append(f"{name}: {problem}; prepare {name} anew")
    known = {entry.output.path for entry in manifest.sets.values()}
    strangers = sorted(path for path in folder.glob("*.parquet") if path.name not in known)
    problems += [f"{path} is not in the manifest" for path in strangers]
    return problems


def _content_problem(path: Path, entry: Entry) -> str | None:
    try:
        check_table(path, entry.spec.name)
        rows = pq.read_metadata(path).num_rows
    except (ConfigError, pa.ArrowInvalid) as error:
        return str(error).removeprefix(f"{entry.spec.name}: ")
    return None if rows == entry.rows_written else f"{path} has {rows} rows, the manifest says {entry.rows_written}"
