"""The samples of a report's page: an index, and the texts in compressed pieces that the page opens when needed."""

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from treepo.evaluation.keep.records import Sample
from treepo.evaluation.keep.store import StoredRun

CHARACTERS = 60_000_000
"""Most characters of responses in a page, which then is some 20 MB large."""
RESPONSE_HEAD, RESPONSE_TAIL = 14_000, 6_000
"""Characters of a long response that are shown."""
PIECE = 1_000_000
"""Characters of one compressed piece, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageData:
    """What the page's script reads.

    Attributes:
        index: JSON that may stand in a ``<script>`` element.
        pieces: Base64 of gzipped JSON lists of texts, in the order of the texts' numbers.
        shown: Samples in it.
        total: Samples of the run.
    """

    index: str
    pieces: tuple[str, ...]
    shown: int
    total: int


def page_data(run: StoredRun, *, characters: int = CHARACTERS) -> PageData:
    """Collects a run's samples for the page.

    Where they are too many, every question keeps its first samples, as many as fit.

    Args:
        run: The run.
        characters: Most characters of responses.
    """
    chosen, total = _choose(run, characters)
    texts = _Texts()
    questions: dict[tuple[str, str], int] = {}
    question_rows: list[list[object]] = []
    rows: list[list[object]] = []
    benchmarks, samplings = list(run.plan.benchmarks), list(run.plan.samplings)
    for benchmark in benchmarks:
        for sample in run.samples(benchmark):
            if (benchmark, *sample.key) not in chosen:
                continue
            place = (benchmark, sample.question)
            if place not in questions:
                questions[place] = len(question_rows)
                prompt = texts.add(sample.prompt)
                question_rows.append([benchmarks.index(benchmark), sample.question, prompt, list(sample.truths)])
            rows.append(_row(sample, questions[place], samplings.index(sample.sampling), texts))
    rows.sort(key=lambda row: row[:3])
    pieces = texts.finish()
    index = {
        "benchmarks": benchmarks,
        "samplings": samplings,
        "questions": question_rows,
        "rows": rows,
        "starts": texts.starts,
    }
    return PageData(index=script_json(index), pieces=pieces, shown=len(rows), total=total)


def script_json(value: object) -> str:
    """JSON that cannot end the ``<script>`` element it stands in, nor begin a comment there."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # escapes all that is not ASCII
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def shorten(response: str) -> str:
    """A long response without its middle."""
    left_out = len(response) - RESPONSE_HEAD - RESPONSE_TAIL
    if left_out <= 0:
        return response
    return f"{response[:RESPONSE_HEAD]}\n\n[… {left_out:,} characters left out …]\n\n{response[-RESPONSE_TAIL:]}"


def _row(sample: Sample, question: int, sampling: int, texts: "_Texts") -> list[object]:
    nodes = None
    if sample.path is not None:
        path = sample.path
        spans = " ".join(f"{node}:{size}" for node, size in zip(path.node_ids, path.node_lengths, strict=True))
        nodes = f"tree {sample.tree}, nodes {spans}" + (", from a fallback" if sample.from_fallback else "")
    return [
        question,
        sampling,
        sample.index,
        int(sample.correct),
        sample.tokens,
        sample.finish.value,
        sample.answer,
        sample.verdict,
        texts.add(shorten(sample.response)),
        str(sample.seed),  # wider than a number of the page's script
        nodes,
    ]


def _choose(run: StoredRun, characters: int) -> tuple[set[tuple[str, str, str, int]], int]:
    sizes: Mapping[tuple[str, str, str, int], int] = {
        (benchmark, *sample.key): len(shorten(sample.response))
        for benchmark in run.plan.benchmarks
        for sample in run.samples(benchmark)
    }
    chosen: set[tuple[str, str, str, int]] = set()
    for key in sorted(sizes, key=lambda key: key[-1]):
        characters -= sizes[key]
        if characters < 0 and chosen:
            break
        chosen.add(key)
    return chosen, len(sizes)


@dataclass(slots=True)
class _Texts:
    """Texts by number, gathered into pieces."""

    starts: list[int] = field(default_factory=list)
    _pieces: list[str] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)
    _size: int = 0
    _count: int = 0

    def add(self, text: str) -> int:
        if not self._open:
            self.starts.append(self._count)
        self._open.append(text)
        self._size += len(text)
        self._count += 1
        if self._size >= PIECE:
            self._pack()
        return self._count - 1

    def finish(self) -> tuple[str, ...]:
        if self._open:
            self._pack()
        return tuple(self._pieces)

    def _pack(self) -> None:
        packed = gzip.compress(json.dumps(self._open).encode(), mtime=0)
        self._pieces.append(base64.b64encode(packed).decode())
        self._open, self._size = [], 0
