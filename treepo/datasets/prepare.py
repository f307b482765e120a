"""Brings sets into the data folder: fetches, converts, leaves out, writes and records them."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import treepo
from treepo.datasets.errors import DataError, OfflineError
from treepo.datasets.files import sole_writer
from treepo.datasets.manifest import Entry, Manifest, OverlapRecord, problem_of, read_manifest, record, write_manifest
from treepo.datasets.overlap import Overlap, Selection, normalise, select
from treepo.datasets.reading import read_rows
from treepo.datasets.rows import SCHEMA, ColumnError, Question, Reason, convert, verl_row
from treepo.datasets.source import Source
from treepo.datasets.spec import Group, SetSpec
from treepo.files.whole import write_whole

LAYOUT = 1
"""Raised whenever the same sources would give other rows."""

Report = Callable[[str, str], None]
"""Told the set and what is being done to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How sets are prepared.

    Attributes:
        output: The data folder.
        force: Prepares also what is up to date.
        revisions: Revisions that take the place of the declared ones, by set.
        overlap: What happens to training rows whose question is in a benchmark.
        allow_row_count: Takes another number of rows than the declared one.
    """

    output: Path
    force: bool = False
    revisions: Mapping[str, str] = field(default_factory=dict)
    overlap: Overlap = Overlap.DROP
    allow_row_count: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one set: its entry, and whether it was written now; or why there is none."""

    name: str
    entry: Entry | None = None
    written: bool = False
    error: DataError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """A set's sources, read."""

    revision: str | None
    sources: list[tuple[str, Path]]
    rows: list[Question | Reason]


def prepare(
    chosen: Sequence[SetSpec], sets: Mapping[str, SetSpec], source: Source, options: Options, report: Report
) -> Iterator[Outcome]:
    """Prepares sets one by one; one that fails does not keep the others from being prepared.

    Benchmarks come first: training sets are checked against their questions. What a killed run has finished is kept.

    Args:
        chosen: The sets to prepare.
        sets: All sets there are; the benchmarks among them are what training sets are checked against.
        source: Where the files come from.
        options: How.
        report: Told of the progress.

    Yields:
        One outcome per set; none of the rest once the hub proved out of reach.

    Raises:
        DataError: The folder or its manifest cannot be used.
    """
    with sole_writer(options.output):
        preparation = _Preparation(sets, source, options, report)
        for spec in sorted(chosen, key=lambda spec: spec.group is Group.TRAIN):
            outcome = preparation.outcome(spec)
            yield outcome
            if isinstance(outcome.error, OfflineError):
                break


class _Preparation:
    def __init__(self, sets: Mapping[str, SetSpec], source: Source, options: Options, report: Report) -> None:
        self.benchmarks = [spec for spec in sets.values() if spec.group is Group.BENCHMARKS]
        self.source = source
        self.options = options
        self.report = report
        self.manifest = read_manifest(options.output)
        self._keys: dict[str, frozenset[str]] = {}

    def outcome(self, spec: SetSpec) -> Outcome:
        try:
            if not self.options.force and (entry := self._up_to_date(spec)) is not None:
                return Outcome(name=spec.name, entry=entry)
            entry = self._prepare(spec)
            self.manifest = Manifest(sets={**self.manifest.sets, spec.name: entry})
            write_manifest(self.options.output, self.manifest)
        except DataError as error:
            return Outcome(name=spec.name, error=error)
        except OSError as error:
            return Outcome(name=spec.name, error=DataError(f"{spec.name}: {error}"))
        return Outcome(name=spec.name, entry=entry, written=True)

    def _up_to_date(self, spec: SetSpec) -> Entry | None:
        entry = self.manifest.sets.get(spec.name)
        if entry is None or entry.recipe != self._recipe(spec):
            return None
        self.report(spec.name, "checking")
        return entry if problem_of(self.options.output, entry) is None else None

    def _prepare(self, spec: SetSpec) -> Entry:
        loaded = self._load(spec)
        checked = spec.group is Group.TRAIN and self.options.overlap is not Overlap.OFF
        benchmarks = {other.name: self._benchmark_keys(other) for other in self.benchmarks} if checked else {}
        self.report(spec.name, "writing")
        selection = select(
            loaded.rows,
            drop_duplicates=spec.duplicates == "drop",
            benchmarks=benchmarks,
            overlap=self.options.overlap,
        )
        if not selection.kept:
            counts = ", ".join(f"{count} {reason}" for reason, count in selection.dropped.items())
            raise DataError(f"{spec.name}: no row is left ({counts}); the source has changed")
        path = self.options.output / f"{spec.name}.parquet"
        _write_parquet(path, spec, selection)
        return Entry(
            spec=spec,
            revision=loaded.revision,
            sources=[record(file, name) for name, file in loaded.sources],
            output=record(path, path.name),
            rows_read=len(loaded.rows),
            rows_written=len(selection.kept),
            dropped=dict(sorted(selection.dropped.items())),
            repeated=selection.repeated,
            overlap=OverlapRecord(mode=self.options.overlap, found={name: selection.found[name] for name in benchmarks})
            if spec.group is Group.TRAIN
            else None,
            recipe=self._recipe(spec),
            tool_version=treepo.__version__,
        )

    def _load(self, spec: SetSpec) -> _Loaded:
        revision, sources = fetch(spec, self._wanted(spec), self.source, self.report)
        self.report(spec.name, "reading")
        rows: list[Question | Reason] = []
        for file, path in sources:
            rows += _converted(spec, path, f"{spec.name}: {file} at revision {revision or 'unknown'}", len(rows))
        self._check_count(spec, revision, rows)
        return _Loaded(revision=revision, sources=sources, rows=rows)

    def _wanted(self, spec: SetSpec) -> str:
        return self.options.revisions.get(spec.name, spec.revision)

    def _check_count(self, spec: SetSpec, revision: str | None, rows: Sequence[Question | Reason]) -> None:
        found = sum(row is not Reason.FILTERED for row in rows)
        if spec.expected_rows not in (None, found) and not self.options.allow_row_count:
            raise DataError(
                f"{spec.name}: expected {spec.expected_rows} rows, found {found} at revision {revision or 'unknown'}; "
                "--allow-row-count takes them all the same"
            )

    def _benchmark_keys(self, spec: SetSpec) -> frozenset[str]:
        if spec.name not in self._keys:
            entry = self._up_to_date(spec)
            if entry is not None:
                texts = _questions(self.options.output / entry.output.path)
            else:
                texts = [row.text for row in self._load_benchmark(spec).rows if isinstance(row, Question)]
            self._keys[spec.name] = frozenset(map(normalise, texts))
        return self._keys[spec.name]

    def _load_benchmark(self, spec: SetSpec) -> _Loaded:
        try:
            return self._load(spec)
        except OfflineError:
            raise
        except DataError as error:
            raise DataError(f"{error} (training sets are checked against it; --overlap off does without)") from error

    def _recipe(self, spec: SetSpec) -> str:
        """Fingerprint of what decides the output, benchmarks included where the set is checked against them."""
        content: dict[str, Any] = {"layout": LAYOUT, "set": self._identity(spec)}
        if spec.group is Group.TRAIN:
            content["overlap"] = self.options.overlap
            if self.options.overlap is not Overlap.OFF:
                content["benchmarks"] = [self._identity(other) for other in self.benchmarks]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _identity(self, spec: SetSpec) -> dict[str, Any]:
        return {**spec.model_dump(mode="json"), "revision": self._wanted(spec)}


def fetch(spec: SetSpec, wanted: str, source: Source, report: Report) -> tuple[str | None, list[tuple[str, Path]]]:
    """Fetches a set's files.

    Returns:
        The commit, and every file with its path on this machine.

    Raises:
        DataError: The source lacks one.
    """
    report(spec.name, "resolving")
    revision = source.resolve(spec, wanted)
    sources = []
    for file in spec.files:
        report(spec.name, f"fetching {file}")
        sources.append((file, source.fetch(spec, file, revision)))
    return revision, sources


def _converted(spec: SetSpec, path: Path, label: str, first: int) -> Iterator[Question | Reason]:
    for number, row in enumerate(read_rows(path, spec.top_columns, label)):
        try:
            yield convert(spec, row, first + number)
        except ColumnError as error:
            raise DataError(f"{label}: row {number}: {error}") from error


def _write_parquet(path: Path, spec: SetSpec, selection: Selection) -> None:
    rows = [verl_row(spec, question, index) for index, question in enumerate(selection.kept)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    write_whole(path, lambda unfinished: pq.write_table(table, unfinished, compression="zstd"))


def _questions(path: Path) -> list[str]:
    column = pq.read_table(path, columns=["extra_info"]).column("extra_info")
    return [info["question"] for info in column.to_pylist()]
