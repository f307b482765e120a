"""Writing and reading records, one per line."""

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from treepo.viewer.schema import VERSION, TreeRecord


class DumpError(ValueError):
    """A file that cannot be read; its text is one line that names file, line and problem."""


def record_line(record: TreeRecord) -> str:
    """The record as one line of JSON, with its line feed. Numbers come back exactly."""
    return record.model_dump_json() + "\n"


def dump_files(place: Path) -> dict[int, Path]:
    """The files of dumped trees of a training, by step, from the first.

    Args:
        place: Its ``run_dir``, or the folder ``trees`` in it.

    Raises:
        DumpError: There is no such folder, or no dumped tree in it.
    """
    if not place.is_dir():
        raise DumpError(f"{place} is no folder; name a run's run_dir, or a file of dumped trees")
    found = {
        int(match[1]): path
        for folder in (place / "trees", place)
        for path in folder.glob("step_*.jsonl")
        if (match := re.fullmatch(r"step_(\d+)\.jsonl", path.name))
    }
    if not found:
        raise DumpError(f"{place} holds no trees (trees/step_N.jsonl); a training with treepo.dump_trees=N writes them")
    return dict(sorted(found.items()))


def read_records(path: Path) -> Iterator[TreeRecord]:
    """Reads a file of dumped trees, line by line; empty lines are passed over.

    Raises:
        DumpError: The file cannot be opened, or a line is no record of this version.
    """
    try:
        # In bytes: only a line feed ends a line then, whatever separators the texts hold.
        file = path.open("rb")
    except OSError as error:
        raise DumpError(f"{path}: {error.strerror or error}") from error
    with file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _read_line(line, f"{path}, line {number}")


def _read_line(line: bytes, place: str) -> TreeRecord:
    try:
        return TreeRecord.model_validate_json(line, strict=True)
    except ValidationError as error:
        problems = error.errors(include_url=False)
    for problem in problems:
        if problem["loc"] == ("version",):
            found = "none" if problem["type"] == "missing" else repr(problem["input"])
            raise DumpError(f"{place}: format version {found}, this viewer reads 2 to {VERSION}")
    problem = problems[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    raise DumpError(f"{place}: {where}: {message}" if where else f"{place}: {message}")
