"""The questions of an evaluation: prepared sets by name, or any parquet file in verl's layout."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from treepo.config import ConfigError
from treepo.datasets.errors import DataError
from treepo.datasets.files import sha256_of
from treepo.datasets.spec import AnswerType, catalogue, choose
from treepo.datasets.table import check_table
from treepo.rewards.scoring import ground_truths

_OPTION = "evaluation.benchmarks"
_COLUMNS = ("data_source", "prompt", "ability", "reward_model", "extra_info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of a benchmark.

    Attributes:
        benchmark: The benchmark's name.
        id: Its name in the benchmark: the source's own where all have one, else the number of the row.
        data_source: Of the row; tells the scorer what kind of answer it is.
        messages: The chat.
        text: The question without instructions; None where the row does not say it.
        truths: The right answers, any of which will do.
        ground_truth: The row's, as it stands.
        extra_info: The row's.
    """

    benchmark: str
    id: str
    data_source: str
    messages: tuple[Mapping[str, str], ...]
    text: str | None = None
    truths: tuple[str, ...]
    ground_truth: Any = None
    extra_info: Mapping[str, Any] = field(default_factory=dict)


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
                    f"{_OPTION}: {file.path} does not exist; `treepo data prepare {file.name}` makes it, "
                    "evaluation.data_dir names another folder"
                )
            check_table(file.path, _OPTION)
            if file.name in found:
                raise ConfigError(f"{_OPTION}: {file.path} and {found[file.name].path} are both called {file.name}")
            found[file.name] = file
    return list(found.values())


def load_benchmark(file: BenchmarkFile, *, most: int | None = None, own_reward: bool = False) -> Benchmark:
    """Reads a benchmark.

    Args:
        file: Where it lies.
        most: How many of its questions to take, from the first; None for all.
        own_reward: Whether a function of the user's reads the ground truths, which may then be of any kind.

    Raises:
        ConfigError: A row has no chat, or no ground truth that can be compared with; the line names file and row.
    """
    columns = [name for name in _COLUMNS if name in pq.read_schema(file.path).names]
    rows = pq.read_table(file.path, columns=columns).to_pylist()
    ids = _ids(rows)[:most]
    rows = rows[:most]
    named = zip(ids, rows, strict=True)
    questions = tuple(_question(file, number, name, row, own_reward) for number, (name, row) in enumerate(named))
    weight = len(questions) if file.published_weight is None else file.published_weight
    return Benchmark(name=file.name, weight=weight, questions=questions, sha256=sha256_of(file.path))


def _ids(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    own = [str((row.get("extra_info") or {}).get("id") or "") for row in rows]
    return own if all(own) and len(set(own)) == len(own) else [str(number) for number in range(len(rows))]


def _question(file: BenchmarkFile, number: int, identity: str, row: Mapping[str, Any], own_reward: bool) -> Question:
    try:
        truth = row["reward_model"]["ground_truth"]
        truths = [as_text(truth)] if own_reward else ground_truths(truth, data_source=row["data_source"])
        messages = tuple({"role": turn["role"], "content": turn["content"]} for turn in row["prompt"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{_OPTION}: {file.path} row {number}: {error}") from error
    return Question(
        benchmark=file.name,
        id=identity,
        data_source=row["data_source"],
        messages=messages,
        text=_bare(row, messages),
        truths=tuple(truths),
        ground_truth=truth,
        extra_info=row.get("extra_info") or {},
    )


def as_text(ground_truth: object) -> str:
    """A ground truth of any kind as text, for reports."""
    return ground_truth if isinstance(ground_truth, str) else json.dumps(ground_truth, default=str, ensure_ascii=False)


def _bare(row: Mapping[str, Any], messages: Sequence[Mapping[str, str]]) -> str | None:
    """The question without instructions: `extra_info.question`, or the chat's only message."""
    if row.get("ability") == AnswerType.CHOICE:  # the options are in the chat alone
        return None
    text = (row.get("extra_info") or {}).get("question")
    if isinstance(text, str) and text:
        return text
    return messages[0]["content"] if len(messages) == 1 and messages[0]["role"] == "user" else None
