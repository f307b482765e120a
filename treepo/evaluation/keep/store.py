"""A run's folder: records are appended as generation goes, and a killed run resumes where it was.

| file | what |
| --- | --- |
| ``run.json`` | the plan, its fingerprint, the schema's version |
| ``samples/BENCHMARK.jsonl`` | one `Sample` per line |
| ``calls.jsonl`` | one `Call` per line |
| ``samples/BENCHMARK.parquet`` | the same samples, written at the end |
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from pydantic import ValidationError

from treepo.config import ConfigError
from treepo.evaluation.keep.plans import refuse_other
from treepo.evaluation.keep.records import SCHEMA, Call, RunPlan, Sample, from_json, to_line, to_plain
from treepo.files.model import read_json
from treepo.files.whole import write_text_whole

SYNC_SECONDS = 5.0
"""A machine that fails costs at most this many seconds of samples; a killed process costs none."""


@dataclass(frozen=True, slots=True)
class _Rest:
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    schema: int
    fingerprint: str
    plan: RunPlan


def fingerprint(plan: RunPlan) -> str:
    """Digest of all that a plan says."""
    return hashlib.sha256(json.dumps(to_plain(plan), sort_keys=True).encode()).hexdigest()


def _lines(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """Every line that counts, with its number and the offset behind it.

    A last line without an end, or that is no JSON, was cut by a kill; so was a last batch that lacks lines.

    Raises:
        ConfigError: A line in the middle is damaged.
    """
    batch: list[tuple[int, bytes, int]] = []
    offset = 0
    damage: str | None = None
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if damage is not None:
                raise ConfigError(damage)
            offset += len(line)
            try:
                rest = from_json(_Rest, line).left
            except ValidationError:
                damage = f"{path}, line {number} is damaged; cut the file before it, and the rest is generated again"
                continue
            if not line.endswith(b"\n"):
                return
            batch.append((number, line, offset))
            if rest == 0:
                yield from batch
                batch = []


def _records(path: Path, kind: type) -> Iterator[Any]:
    if not path.exists():
        return
    for number, line, _ in _lines(path):
        try:
            yield from_json(kind, line)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise ConfigError(
                f"{path}, line {number} is damaged: {where}: {problem['msg']}; remove the line, and what it held is "
                "generated again"
            ) from error


class StoredRun:
    """A run to read from, also while it is being written.

    Args:
        folder: The run's folder.

    Raises:
        ConfigError: There is no run, or one of another schema.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        file = folder / "run.json"
        if not file.is_file():
            raise ConfigError(f"{folder} holds no evaluation: {file} is missing")
        schema = read_json(file).get("schema")
        if schema != SCHEMA:
            raise ConfigError(f"{file} has schema {schema!r}, this version reads schema {SCHEMA}")
        try:
            self.plan: RunPlan = from_json(_Stored, file.read_bytes()).plan
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise ConfigError(
                f"{file} is damaged: {where}: {problem['msg']}; put it back, or evaluate anew into another run_dir"
            ) from error

    def samples(self, benchmark: str, *, log_probs: bool = False) -> Iterator[Sample]:
        """The samples of a benchmark, in the order of writing.

        Args:
            benchmark: Its name.
            log_probs: Whether to keep their log-probabilities, which may be most of the file.

        Raises:
            ConfigError: A line is damaged or a sample is there twice.
        """
        path = sample_file(self.folder, benchmark)
        seen: set[tuple[str, str, int]] = set()
        for sample in _records(path, Sample):
            if sample.key in seen:
                raise ConfigError(f"{path} holds sample {sample.key} twice; remove one of them")
            seen.add(sample.key)
            yield sample if log_probs else replace(sample, log_probs=None)

    def calls(self) -> list[Call]:
        """All calls, in the order of writing."""
        return list(_records(self.folder / "calls.jsonl", Call))


class RunWriter:
    """A run to append to; a context manager. One process at a time.

    Args:
        folder: The run's folder; made, or resumed.
        plan: What the run is to do.

    Raises:
        ConfigError: The folder holds a run of another plan, or another process writes to it.
    """

    def __init__(self, folder: Path, plan: RunPlan) -> None:
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.plan = plan
        with ExitStack() as opened:
            _lock(opened.enter_context((folder / ".lock").open("w")), folder)
            _begin(folder, plan)
            self._samples = {name: _open(opened, sample_file(folder, name)) for name in plan.benchmarks}
            self._calls = _open(opened, folder / "calls.jsonl")
            run = StoredRun(folder)
            self._done = {name: {sample.key for sample in run.samples(name)} for name in plan.benchmarks}
            self._opened = opened.pop_all()
        self._synced = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def pending(self, benchmark: str, sampling: str, questions: Sequence[str]) -> list[tuple[str, int]]:
        """The samples that are still to be generated.

        Args:
            benchmark: Name of the benchmark.
            sampling: Label of how they are drawn.
            questions: Ids of its questions.

        Returns:
            Question and index of each, question by question.
        """
        done = self._done[benchmark]
        wanted = ((question, index) for question in questions for index in range(self.plan.samples))
        return [(question, index) for question, index in wanted if (sampling, question, index) not in done]

    def append(self, samples: Sequence[Sample]) -> None:
        """Writes samples of one benchmark as one batch: after a kill either all of them are there or none.

        Raises:
            ValueError: They are of several benchmarks, of one that the plan lacks, of a sampling that it lacks, or
                there already.
        """
        if not samples:
            return
        benchmark = samples[0].benchmark
        if benchmark not in self._samples:
            raise ValueError(f"benchmark {benchmark} is not in the run's plan")
        done = self._done[benchmark]
        keys = {sample.key for sample in samples}
        for sample in samples:
            if sample.benchmark != benchmark:
                raise ValueError(f"one batch with samples of {benchmark} and {sample.benchmark}")
            if sample.sampling not in self.plan.samplings:
                raise ValueError(f"sampling {sample.sampling!r} is not in the run's plan")
        if len(keys) < len(samples) or keys & done:
            raise ValueError(f"{benchmark}: a sample is there already: {sorted(keys & done) or sorted(keys)}")
        _append(self._samples[benchmark], samples)
        done |= keys
        self._sync_at_times()

    def append_call(self, call: Call) -> None:
        """Writes what a call took."""
        _append(self._calls, [call])
        self._sync_at_times()

    def sync(self) -> None:
        """Makes sure that all that was appended is on the disk."""
        for file in (*self._samples.values(), self._calls):
            os.fsync(file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Syncs and gives the folder free."""
        self.sync()
        self._opened.close()

    def _sync_at_times(self) -> None:
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            self.sync()


def sample_file(folder: Path, benchmark: str) -> Path:
    """Where a run keeps a benchmark's samples."""
    return folder / "samples" / f"{benchmark}.jsonl"


def _lock(file: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(f"another process writes to {folder}; wait for it, or give another folder") from error


def _begin(folder: Path, plan: RunPlan) -> None:
    """Writes the plan, or holds it against the one that is there."""
    file = folder / "run.json"
    if file.exists():
        refuse_other(folder, to_plain(StoredRun(folder).plan), to_plain(plan))
        return
    stored = to_plain(_Stored(schema=SCHEMA, fingerprint=fingerprint(plan), plan=plan))
    write_text_whole(file, json.dumps(stored, indent=2))


def _open(opened: ExitStack, path: Path) -> IO[bytes]:
    """Opens a file to append to, without what a kill cut off."""
    file = opened.enter_context(path.open("ab", buffering=0))
    file.truncate(max((end for _, _, end in _lines(path)), default=0))
    return file


def _append(file: IO[bytes], records: Sequence[Sample] | Sequence[Call]) -> None:
    left = range(len(records) - 1, -1, -1)
    data = memoryview(b"".join(to_line(record, left=rest) for record, rest in zip(records, left, strict=True)))
    while data:  # a write to a nearly full disk may take part of it
        data = data[file.write(data) :]
