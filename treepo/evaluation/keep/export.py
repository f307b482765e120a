"""A run's samples as parquet, one file per benchmark."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from treepo.evaluation.keep.records import Sample, to_plain
from treepo.evaluation.keep.store import StoredRun, sample_file
from treepo.files.whole import write_whole

ROWS_AT_A_TIME = 512

_PATH = pa.struct([("node_ids", pa.list_(pa.int32())), ("node_lengths", pa.list_(pa.int32()))])
COLUMNS = pa.schema(
    [
        ("benchmark", pa.string()),
        ("question", pa.string()),
        ("index", pa.int32()),
        ("sampling", pa.string()),
        ("model", pa.string()),
        ("seed", pa.int64()),
        ("prompt", pa.string()),
        ("response", pa.string()),
        ("tokens", pa.int32()),
        ("finish", pa.string()),
        ("truths", pa.list_(pa.string())),
        ("answer", pa.string()),
        ("correct", pa.bool_()),
        ("verdict", pa.string()),
        ("repetition", pa.bool_()),
        ("log_probs", pa.list_(pa.float32())),
        ("path", _PATH),
        ("tree", pa.int32()),
        ("from_fallback", pa.bool_()),
        ("node_ends", pa.list_(pa.int32())),
    ]
)


def write_parquet(run: StoredRun) -> list[Path]:
    """Writes the samples of every benchmark that has some, log-probs included, next to their JSON Lines.

    Returns:
        The files, in the order of the plan.
    """
    return [
        _write(run.samples(name, log_probs=True), sample_file(run.folder, name).with_suffix(".parquet"))
        for name in run.plan.benchmarks
        if sample_file(run.folder, name).exists()
    ]


def _write(samples: Iterable[Sample], path: Path) -> Path:
    write_whole(path, lambda draft: _write_rows(samples, draft))
    return path


def _write_rows(samples: Iterable[Sample], draft: Path) -> None:
    with pq.ParquetWriter(draft, COLUMNS, compression="zstd") as writer:
        for rows in _chunks(iter(samples)):
            writer.write_table(pa.Table.from_pylist([dict(to_plain(sample)) for sample in rows], schema=COLUMNS))


def _chunks(samples: Iterator[Sample]) -> Iterator[list[Sample]]:
    while chunk := list(islice(samples, ROWS_AT_A_TIME)):
        yield chunk
