"""Checks a parquet file against the layout that verl reads, before anything else is started."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from treepo.config import ConfigError

_COLUMNS = ("data_source", "prompt", "reward_model")
_ROWS_READ = 64


def check_parquet(path: Path, option: str) -> None:
    """Refuses a file that the training could not read.

    Reads the schema and the first rows alone, so that a large set costs no more than a small one.

    Args:
        path: The file.
        option: The option that names it, as in ``data.train_files``.

    Raises:
        ConfigError: The file is missing, no parquet, empty, or lacks what verl needs; one line with option, file and
            remedy.
    """

    def refuse(problem: str) -> ConfigError:
        return ConfigError(f"{option}: {path} {problem}")

    if not path.is_file():
        raise refuse("does not exist; give the path of a parquet file")
    try:
        table = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise refuse(f"is not a readable parquet file ({' '.join(str(error).split())}); write it anew") from error
    if table.metadata.num_rows == 0:
        raise refuse("has no rows; write it anew")
    missing = [name for name in _COLUMNS if name not in table.schema_arrow.names]
    if missing:
        raise refuse(f"lacks the column {missing[0]}; it has {', '.join(table.schema_arrow.names)}")
    batch = next(table.iter_batches(batch_size=_ROWS_READ, columns=list(_COLUMNS)))
    for number, row in enumerate(batch.to_pylist()):
        problem = _row_problem(row)
        if problem is not None:
            raise refuse(f"row {number}: {problem}")


def column_values(path: Path, column: str) -> Iterator[Any]:
    """The values of a column, row by row; none where the file has no such column.

    Args:
        path: A readable parquet file.
        column: Its name.
    """
    table = pq.ParquetFile(path)
    if column in table.schema_arrow.names:
        for batch in table.iter_batches(batch_size=_ROWS_READ, columns=[column]):
            yield from batch.column(0).to_pylist()


def _row_problem(row: Mapping[str, Any]) -> str | None:
    if not isinstance(row["data_source"], str):
        return "data_source must be a string"
    if not _is_chat(row["prompt"]):
        return 'prompt must be a list of messages, each {"role": ..., "content": ...}'
    reward_model = row["reward_model"]
    if not isinstance(reward_model, Mapping) or reward_model.get("ground_truth") in (None, "", []):
        return "reward_model must hold a ground_truth"
    return None


def _is_chat(prompt: Any) -> bool:
    return (
        isinstance(prompt, list)
        and len(prompt) > 0
        and all(isinstance(message, Mapping) and {"role", "content"} <= message.keys() for message in prompt)
    )
