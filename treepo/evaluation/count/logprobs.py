"""Log-probabilities over the response: by token position, by segment, and where a tree forks.

Every decoded token counts once: a node that several trajectories of a tree share is looked at with the first of them.
Samples without log-probs are passed over.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from treepo.evaluation.keep.records import Sample
from treepo.evaluation.keep.store import StoredRun

BINS = 64
"""Most bins of positions; their width is a power of two of tokens."""
OFFSETS = ((0, 1), (1, 2), (2, 4), (4, 8), (8, 16))
"""Tokens after the beginning of a node, as ranges; later ones are ``elsewhere``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Log-probabilities of a group of tokens.

    Attributes:
        first: First position, segment or offset of the group.
        last: Last one.
        tokens: How many tokens.
        mean: Their mean.
        deviation: Their standard deviation.
    """

    first: int
    last: int
    tokens: int
    mean: float
    deviation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProbs:
    """One sampling's log-probabilities over all benchmarks.

    Attributes:
        sampling: The label.
        everywhere: All tokens.
        positions: By position in the response, from 0.
        segments: By segment of the path, from 0; trees alone.
        forks: By offset from the first token of a node whose parent has another child too, nodes at the root left out.
        boundaries: The same for nodes that continue their parent alone.
        elsewhere: All tokens of nodes behind the root that are further from their node's beginning; None without any.
    """

    sampling: str
    everywhere: Spread
    positions: tuple[Spread, ...]
    segments: tuple[Spread, ...]
    forks: tuple[Spread, ...]
    boundaries: tuple[Spread, ...]
    elsewhere: Spread | None


Node = tuple[str, str, int, int]  # benchmark, question, tree, node id; 0 is the root


@dataclass(slots=True)
class _Sums:
    """Count, sum and sum of squares by group; grows as needed."""

    table: np.ndarray = field(default_factory=lambda: np.zeros((0, 3)))

    def add(self, groups: np.ndarray, values: np.ndarray) -> None:
        if not len(values):
            return
        size = int(groups.max()) + 1
        if size > len(self.table):
            self.table = np.vstack([self.table, np.zeros((size - len(self.table), 3))])
        for column, weights in enumerate((np.ones_like(values), values, values**2)):
            self.table[:size, column] += np.bincount(groups, weights=weights, minlength=size)

    def spread(self, start: int, stop: int) -> Spread | None:
        """Groups `start` up to `stop` together; None without a token."""
        tokens, total, squares = self.table[start:stop].sum(axis=0)
        if not tokens:
            return None
        mean = total / tokens
        return Spread(
            first=start,
            last=stop - 1,
            tokens=int(tokens),
            mean=float(mean),
            deviation=float(np.sqrt(max(0.0, squares / tokens - mean**2))),
        )

    def spreads(self, ranges: Iterator[tuple[int, int]]) -> tuple[Spread, ...]:
        return tuple(spread for start, stop in ranges if (spread := self.spread(start, stop)) is not None)


@dataclass(slots=True)
class _Arm:
    positions: _Sums = field(default_factory=_Sums)
    segments: _Sums = field(default_factory=_Sums)
    forks: _Sums = field(default_factory=_Sums)
    boundaries: _Sums = field(default_factory=_Sums)
    seen: set[Node] = field(default_factory=set)

    def add(self, sample: Sample, children: Mapping[Node, set[int]]) -> None:
        assert sample.log_probs is not None
        values = np.array(sample.log_probs)
        if sample.path is None:
            self.positions.add(np.arange(len(values)), values)
            return
        tree = (sample.benchmark, sample.question, sample.tree)
        parent: Node = (*tree, 0)
        for segment, (node, place) in enumerate(sample.path.spans()):
            here: Node = (*tree, node)
            if here not in self.seen:
                self.seen.add(here)
                part = values[place]
                offsets = np.arange(len(part))
                self.positions.add(offsets + place.start, part)
                self.segments.add(np.full(len(part), segment), part)
                if segment > 0:
                    (self.forks if len(children[parent]) > 1 else self.boundaries).add(offsets, part)
            parent = here


def analyse_log_probs(run: StoredRun) -> list[LogProbs]:
    """Reads the log-probabilities of a run, benchmark after benchmark, and sums them up by sampling.

    Returns:
        One entry per sampling that has some, in the order of the plan.
    """
    arms: dict[str, _Arm] = defaultdict(_Arm)
    for benchmark in run.plan.benchmarks:
        children: dict[str, dict[Node, set[int]]] = defaultdict(lambda: defaultdict(set))
        for sample in run.samples(benchmark):
            if sample.path is not None:
                _note_children(sample, children[sample.sampling])
        for sample in run.samples(benchmark, log_probs=True):
            if sample.log_probs:
                arms[sample.sampling].add(sample, children[sample.sampling])
    return [_log_probs(sampling, arms[sampling]) for sampling in run.plan.samplings if sampling in arms]


def _note_children(sample: Sample, children: dict[Node, set[int]]) -> None:
    assert sample.path is not None
    tree = (sample.benchmark, sample.question, sample.tree)
    for parent, child in zip((0, *sample.path.node_ids), sample.path.node_ids, strict=False):
        children[(*tree, parent)].add(child)


def _log_probs(sampling: str, arm: _Arm) -> LogProbs:
    length = len(arm.positions.table)
    everywhere = arm.positions.spread(0, length)
    assert everywhere is not None, "a sampling is noted with its first token"
    width = bin_width(length)
    past = OFFSETS[-1][1]
    far = _Sums(np.vstack([sums.table[past:].sum(axis=0) for sums in (arm.forks, arm.boundaries)]))
    return LogProbs(
        sampling=sampling,
        everywhere=everywhere,
        positions=arm.positions.spreads((start, min(start + width, length)) for start in range(0, length, width)),
        segments=arm.segments.spreads((segment, segment + 1) for segment in range(len(arm.segments.table))),
        forks=arm.forks.spreads(iter(OFFSETS)),
        boundaries=arm.boundaries.spreads(iter(OFFSETS)),
        elsewhere=far.spread(0, 2),
    )


def bin_width(length: int) -> int:
    """Positions per bin: the smallest power of two with which `BINS` bins reach over a length."""
    width = 1
    while width * BINS < length:
        width *= 2
    return width
