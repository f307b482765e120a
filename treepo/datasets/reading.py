"""Reads a source file row by row, whatever its format, and holds it to the columns that the set needs."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from treepo.datasets.errors import DataError

Row = dict[str, Any]


def read_rows(path: Path, columns: Sequence[str], label: str) -> Iterator[Row]:
    """Reads a parquet, JSON (an array of objects) or JSON Lines file.

    Args:
        path: The file.
        columns: Columns to read; others are left alone.
        label: Set, file and revision, for messages.

    Yields:
        The rows, in order.

    Raises:
        DataError: The file is unreadable, or lacks a column.
    """
    readers = {".parquet": _parquet, ".json": _json, ".jsonl": _json_lines}
    yield from readers[path.suffix](path, columns, label)


def _parquet(path: Path, columns: Sequence[str], label: str) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            _require(columns, file.schema_arrow.names, label)
            for batch in file.iter_batches(columns=list(columns)):
                yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{label} is not a readable parquet file ({' '.join(str(error).split())[:200]})") from error


def _json(path: Path, columns: Sequence[str], label: str) -> Iterator[Row]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{label} is not readable JSON ({error})") from error
    if not isinstance(content, list):
        raise DataError(f"{label} should hold an array of rows, holds {type(content).__name__}")
    for number, row in enumerate(content):
        yield _object(row, number, columns, label)


def _json_lines(path: Path, columns: Sequence[str], label: str) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise DataError(f"{label} is not readable JSON in line {number + 1} ({error})") from error
                yield _object(row, number, columns, label)


def _object(row: object, number: int, columns: Sequence[str], label: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{label}: row {number} should be an object, is {type(row).__name__}")
    _require(columns, list(row), f"{label}: row {number}")
    return row


def _require(columns: Sequence[str], present: Sequence[str], label: str) -> None:
    for column in columns:
        if column not in present:
            raise DataError(f"{label} lacks the column {column}; it has {', '.join(present)}")
