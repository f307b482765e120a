"""The samples of a run by question, in short, and the resamples of questions that all its numbers share."""

import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from treepo.evaluation.count import metrics
from treepo.evaluation.count.metrics import CORRECT, Classes, Floats
from treepo.evaluation.keep.records import Sample

SEED = 0
"""Of every bootstrap; a report of the same samples is always the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question's samples under one sampling, in short, by their index.

    Attributes:
        votes: Their classes, see `treepo.evaluation.count.metrics.vote_classes`, shape [samples].
        seeds: The seed that each comes from, counted from 0, shape [samples]; of trees, the tree.
    """

    votes: Classes
    seeds: NDArray[np.int64]

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.votes)

    @property
    def right(self) -> Floats:
        """1 for each right sample, 0 for others, shape [samples]."""
        return (self.votes == CORRECT).astype(np.float64)

    @property
    def correct(self) -> int:
        """How many are right."""
        return int(self.right.sum())

    def by_seed(self) -> list[Classes]:
        """The votes of every seed that has some."""
        return [self.votes[self.seeds == seed] for seed in np.unique(self.seeds)]


def questions_of(samples: Iterable[Sample], *, per_seed: int) -> dict[str, Question]:
    """The questions of one benchmark under one sampling, by id in sorted order.

    Args:
        samples: Their samples.
        per_seed: Samples per question and seed.
    """
    grouped: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        grouped[sample.question].append(sample)
    return {name: _question(group, per_seed) for name, group in sorted(grouped.items())}


def _question(samples: list[Sample], per_seed: int) -> Question:
    ordered = sorted(samples, key=lambda sample: sample.index)
    seeds = np.array([sample.index // per_seed for sample in ordered], dtype=np.int64)
    return Question(votes=metrics.vote_classes(ordered), seeds=seeds)


@lru_cache(maxsize=32)
def resamples_of(benchmark: str, questions: int) -> metrics.Times:
    """The resamples of a benchmark's questions, the same for every sampling and run."""
    return metrics.resample(questions, draws(benchmark))


def draws(*names: str) -> np.random.Generator:
    """A generator that belongs to these names."""
    return np.random.default_rng([SEED, zlib.crc32(" ".join(names).encode())])
