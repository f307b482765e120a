"""A file of rows as verl reads it, parquet or JSON, and whether its rows are what a training needs."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from treepo.config import ConfigError

SOURCE, REWARD, EXTRA = "data_source", "reward_model", "extra_info"
"""Columns that verl reads by these names; the prompt's is ``data.prompt_key``."""

_ROWS_READ = 64


class Table:
    """The rows of one file; columns are read as they are asked for.

    Attributes:
        path: The file.
        option: The option that names it, for messages.
        rows: Their number.
        schema: Names and types of the columns.
    """

    def __init__(self, path: Path, option: str, source: pq.ParquetFile | pa.Table) -> None:
        self.path = path
        self.option = option
        self.rows: int = source.metadata.num_rows if isinstance(source, pq.ParquetFile) else source.num_rows
        self.schema: pa.Schema = source.schema_arrow if isinstance(source, pq.ParquetFile) else source.schema
        self._source = source

    def head(self, columns: Iterable[str]) -> list[dict[str, Any]]:
        """The first rows, with those of some columns that there are."""
        return next(self._batches([name for name in columns if name in self.schema.names])).to_pylist()

    def column(self, name: str) -> Iterator[Any]:
        """The values of a column, row by row; none where there is no such column."""
        if name in self.schema.names:
            for batch in self._batches([name]):
                yield from batch.column(0).to_pylist()

    def refusal(self, problem: str) -> ConfigError:
        """An error that names option and file."""
        return ConfigError(f"{self.option}: {self.path} {problem}")

    def _batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        if isinstance(self._source, pq.ParquetFile):
            return self._source.iter_batches(batch_size=_ROWS_READ, columns=columns)
        return iter(self._source.select(columns).to_batches(max_chunksize=_ROWS_READ))


def open_table(path: Path, option: str) -> Table:
    """Opens a file by its ending, as verl does: ``.parquet``, ``.json`` or ``.jsonl``.

    Of a parquet file only the schema is read.

    Args:
        path: The file.
        option: The option that names it, as in ``data.train_files``.

    Raises:
        ConfigError: The file is missing, of another kind, unreadable or empty; one line with option, file and remedy.
    """

    def refuse(problem: str) -> ConfigError:
        return ConfigError(f"{option}: {path} {problem}")

    if not path.is_file():
        raise refuse("does not exist; give the path of a parquet file")
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise refuse(f"ends with none of {', '.join(_READERS)}, by which verl knows how to read it; rename it")
    try:
        table = Table(path, option, reader(path))
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        kind = "parquet" if path.suffix == ".parquet" else "JSON"
        raise refuse(f"is not a readable {kind} file ({' '.join(str(error).split())}); write it anew") from error
    if table.rows == 0:
        raise refuse("has no rows; write it anew")
    return table


def check_table(path: Path, option: str, *, prompt: str = "prompt") -> Table:
    """Refuses a file that the training could not read.

    Reads the first rows alone, so that a large set costs no more than a small one.

    Args:
        path: The file.
        option: The option that names it, as in ``data.train_files``.
        prompt: The column of the prompts.

    Returns:
        The table.

    Raises:
        ConfigError: As `open_table`, or it lacks what verl needs.
    """
    table = open_table(path, option)
    check_rows(table, prompt=prompt)
    return table


def check_rows(table: Table, *, prompt: str = "prompt") -> None:
    """Refuses a table whose columns, or first rows, lack what verl needs.

    Args:
        table: The table.
        prompt: The column of the prompts.

    Raises:
        ConfigError: One line with option, file, row and remedy.
    """
    needed = (SOURCE, prompt, REWARD)
    missing = [name for name in needed if name not in table.schema.names]
    if missing:
        remedy = "; name the prompts' with data.prompt_key" if missing[0] == prompt else ""
        raise table.refusal(f"lacks the column {missing[0]}; it has {', '.join(table.schema.names)}{remedy}")
    for number, row in enumerate(table.head((*needed, EXTRA))):
        if (problem := _row_problem(row, prompt)) is not None:
            raise table.refusal(f"row {number}: {problem}")


def difference(first: Table, other: Table) -> str | None:
    """Why verl cannot put two tables one behind the other, as in ``extra_info.index is int64 and string``.

    Columns that one of them lacks are no obstacle; those of both must have one type, as Hugging Face's datasets has it.
    """
    for name in first.schema.names:
        if name in other.schema.names and (
            found := _difference(name, first.schema.field(name).type, other.schema.field(name).type)
        ):
            return found
    return None


def _difference(name: str, one: pa.DataType, other: pa.DataType) -> str | None:
    if pa.types.is_null(one) or pa.types.is_null(other) or one.equals(other):
        return None
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        others = {field.name: field.type for field in other}
        parts = (
            _difference(f"{name}.{field.name}", field.type, others[field.name]) for field in one if field.name in others
        )
        return next((part for part in parts if part), None)
    if pa.types.is_list(one) and pa.types.is_list(other):
        return _difference(name, one.value_type, other.value_type)
    return f"{name} is {one} and {other}"


def _read_json(path: Path) -> pa.Table:
    """An array of objects, or an object a line."""
    with path.open("rb") as file:
        first = file.read(1)
        if first != b"[":
            file.seek(0)
            return pyarrow.json.read_json(file)
    rows = json.loads(path.read_text(encoding="utf-8"))
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("not every element of its array is an object")
    return pa.Table.from_pylist(rows)


_READERS: Mapping[str, Callable[[Path], pq.ParquetFile | pa.Table]] = {
    ".parquet": pq.ParquetFile,
    ".json": _read_json,
    ".jsonl": _read_json,
}


def _row_problem(row: Mapping[str, Any], prompt: str) -> str | None:
    if not isinstance(row[SOURCE], str):
        return f"{SOURCE} must be a string"
    if not _is_chat(row[prompt]):
        return f'{prompt} must be a list of messages, each {{"role": ..., "content": ...}}'
    reward_model = row[REWARD]
    if not isinstance(reward_model, Mapping) or reward_model.get("ground_truth") in (None, "", []):
        return f"{REWARD} must hold a ground_truth"
    extra = row.get(EXTRA)
    if extra is not None and not isinstance(extra, Mapping):
        return f"{EXTRA} must be an object with names, as in {{'index': 0}}, or null, and is {type(extra).__name__}"
    return None


def _is_chat(prompt: Any) -> bool:
    return (
        isinstance(prompt, list)
        and len(prompt) > 0
        and all(isinstance(message, Mapping) and {"role", "content"} <= message.keys() for message in prompt)
    )
