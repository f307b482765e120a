"""The questions of an evaluation: prepared sets by name, or any parquet file in verl's layout."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from treepo.config import ConfigError
from treepo.datasets.errors import DataError
from treepo.datasets.files import sha256_of
from treepo.datasets.parquet import check_parquet
from treepo.datasets.spec import catalogue, choose
from treepo.rewards.scoring import ground_truths

_OPTION = "evaluation.benchmarks"
_COLUMNS = ("data_source", "prompt", "reward_model", "extra_info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of a benchmark.

    Attributes:
        benchmark: The benchmark's name.
        id: Its name in the benchmark: the source's own where all have one, else the number of the row.
        data_source: Of the row; tells the scorer what kind of answer it is.
        messages: The chat.
        truths: The right answers, any of which will do.
    """

    benchmark: str
    id: str
    data_source: str
    messages: tuple[Mapping[str, str], ...]
    truths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkFile:
    """Where a benchmark lies.

    Attributes:
        name: Its name: the set's, or the file's without its ending.
        path: The parquet file.
        published_weight: Weight in the published overall score; None for what is not in it.
    """

    name: str
    path: Path
    published_weight: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A benchmark's questions.

    Attributes:
        name: Its name.
        weight: In the overall score: the published one, else the number of questions.
        questions: In the order of the file.
        sha256: Of the file.
    """

    name: str
    weight: float
    questions: tuple[Question, ...]
    sha256: str


def find_benchmarks(names: Sequence[str], data_dir: Path) -> list[BenchmarkFile]:
    """Finds the files of benchmarks, and looks into each.

    Args:
        names: Names of sets, or paths of parquet files.
        data_dir: Where prepared sets lie.

    Raises:
        ConfigError: One is not known, not there, not in verl's layout, or named like another.
    """
    found: dict[str, BenchmarkFile] = {}
    sets = catalogue()
    for name in names:
        if name.endswith(".parquet") or "/" in name:
            path = Path(name).expanduser()
            files = [BenchmarkFile(name=re.sub(r"[^\w.-]+", "_", path.stem), path=path, published_weight=None)]
        else:
            try:
                specs = choose([name], sets)
            except DataError as error:
                raise ConfigError(f"{_OPTION}: {error}; or give the path of a parquet file") from error
            files = [
                BenchmarkFile(
                    name=spec.name, path=data_dir / f"{spec.name}.parquet", published_weight=spec.published_weight
                )
                for spec in specs
            ]
        for file in files:
            if not file.path.is_file() and file.name in sets:
                raise ConfigError(
                    f"{_OPTION}: {file.path} does not exist; `python -m treepo.datasets prepare {file.name}` makes it, "
                    "evaluation.data_dir names another folder"
                )
            check_parquet(file.path, _OPTION)
            if file.name in found:
                raise ConfigError(f"{_OPTION}: {file.path} and {found[file.name].path} are both called {file.name}")
            found[file.name] = file
    return list(found.values())


def load_benchmark(file: BenchmarkFile) -> Benchmark:
    """Reads a benchmark.

    Raises:
        ConfigError: A row has no chat, or no ground truth that can be compared with; the line names file and row.
    """
    columns = [name for name in _COLUMNS if name in pq.read_schema(file.path).names]
    rows = pq.read_table(file.path, columns=columns).to_pylist()
    ids = _ids(rows)
    questions = tuple(
        _question(file, number, identity, row) for number, (identity, row) in enumerate(zip(ids, rows, strict=True))
    )
    weight = len(questions) if file.published_weight is None else file.published_weight
    return Benchmark(name=file.name, weight=weight, questions=questions, sha256=sha256_of(file.path))


def _ids(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    own = [str((row.get("extra_info") or {}).get("id") or "") for row in rows]
    return own if all(own) and len(set(own)) == len(own) else [str(number) for number in range(len(rows))]


def _question(file: BenchmarkFile, number: int, identity: str, row: Mapping[str, Any]) -> Question:
    try:
        truths = ground_truths(row["reward_model"]["ground_truth"], data_source=row["data_source"])
        messages = tuple({"role": turn["role"], "content": turn["content"]} for turn in row["prompt"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{_OPTION}: {file.path} row {number}: {error}") from error
    return Question(
        benchmark=file.name,
        id=identity,
        data_source=row["data_source"],
        messages=messages,
        truths=tuple(truths),
    )
