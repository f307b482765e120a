"""What a run of the evaluation keeps: one record per sample, one per call of the engine, and the plan of the run.

All three are plain JSON on disk. A record checks itself, so that what generation got wrong is seen where it is written
and not weeks later in a table.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from treepo.config import RepetitionConfig
from treepo.tree import FinishReason, NodePath
from treepo.tree.termination import has_repetition

SCHEMA = 2
"""Version of all files of a run; a reader refuses any other."""
INDEPENDENT = "independent"
"""Sampling label of plain, independent samples: what every other one is compared with."""
TOO_LONG = "too_long"
"""Option of a plan: ids of the questions that are not asked since their prompts are too long, by benchmark."""
MAX_QUESTIONS = "max_questions"
"""Option of a plan: how many questions of each benchmark are asked, from the first; absent where all are."""
LOG_PROB_DIGITS = 5

_FILE_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")

TRUNCATED = frozenset({FinishReason.MAX_TOKENS, FinishReason.MAX_DEPTH})


def tree_label(divergence: int) -> str:
    """Sampling label of trees with this divergence, as in ``tree d=2``."""
    return f"tree d={divergence}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One response to one question, and what was made of it.

    Attributes:
        benchmark: Name of the benchmark.
        question: The question's id in it.
        index: Which sample of the question, from 0.
        sampling: Label of how it was drawn: ``independent``, ``tree d=2``.
        model: What names the weights: a folder, a checkpoint's step.
        seed: Seed of the sample; for a tree, of the tree.
        prompt: The prompt's text as the model got it.
        response: The response's text.
        tokens: Tokens of the response.
        finish: Why it ended; independent samples end by ``eos`` or ``max_tokens``.
        truths: The right answers, any of which will do.
        answer: The answer found in the response; None without one.
        correct: The verdict.
        verdict: What decided, as in ``exact``, ``math_verify``, ``timeout``.
        repetition: Whether the text repeats itself (`repeats_itself`), whatever ended it.
        log_probs: Log-probability of each token, shape [tokens]; None where they were not kept.
        path: The way through the tree; None for independent samples.
        tree: Number of the tree among its question's, from 0, one per seed: node ids are unique within one tree only.
        from_fallback: Whether it grew out of a fallback.
        node_ends: Characters of the response up to the end of each node of the path, shape [nodes]; None for
            independent samples, and in runs of before they were kept.

    Raises:
        ValueError: Lengths contradict each other, a number is negative, or a log-probability is not finite.
    """

    benchmark: str
    question: str
    index: int
    sampling: str
    model: str
    seed: int
    prompt: str
    response: str
    tokens: int
    finish: FinishReason
    truths: tuple[str, ...]
    answer: str | None
    correct: bool
    verdict: str
    repetition: bool
    log_probs: tuple[float, ...] | None = None
    path: NodePath | None = None
    tree: int = 0
    from_fallback: bool = False
    node_ends: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        name = f"{self.benchmark} {self.question} sample {self.index}"
        if self.index < 0 or self.tokens < 0:
            raise ValueError(f"{name}: index and tokens must not be negative")
        if self.log_probs is not None:
            if len(self.log_probs) != self.tokens:
                raise ValueError(f"{name}: {len(self.log_probs)} log-probs for {self.tokens} tokens")
            if not all(map(math.isfinite, self.log_probs)):
                raise ValueError(f"{name}: a log-probability is not finite")
        if self.path is not None and self.path.length != self.tokens:
            raise ValueError(f"{name}: nodes of {self.path.length} tokens for {self.tokens} tokens")
        if self.node_ends is not None:
            nodes = 0 if self.path is None else len(self.path.node_ids)
            if len(self.node_ends) != nodes or list(self.node_ends) != sorted(self.node_ends):
                raise ValueError(f"{name}: ends {self.node_ends} for {nodes} nodes")
            if self.node_ends and self.node_ends[-1] != len(self.response):
                raise ValueError(f"{name}: nodes end at character {self.node_ends[-1]} of {len(self.response)}")

    @property
    def key(self) -> tuple[str, str, int]:
        """What no other sample of the benchmark has: sampling, question, index."""
        return self.sampling, self.question, self.index

    @property
    def truncated(self) -> bool:
        """Whether a limit of length or depth ended it."""
        return self.finish in TRUNCATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One stretch of generation: a request, a tree or a batch of them.

    Calls may overlap in time; the wall time of a run is that of their union.

    Attributes:
        benchmark: Name of the benchmark.
        sampling: Label of how the samples were drawn.
        started: Seconds since the epoch.
        seconds: Wall time.
        accelerator_seconds: This call's share of the accelerators' time, so that the sum over all calls counts every
            second of every accelerator once.
        trajectories: Samples that came out of it.
        tokens_generated: Tokens decoded for them; a tree's shared tokens count once.
        prefix_tokens: Tokens submitted as prompts.
        cached_tokens: Those of them that the engine read from its prefix cache.
    """

    benchmark: str
    sampling: str
    started: float
    seconds: float
    accelerator_seconds: float
    trajectories: int
    tokens_generated: int
    prefix_tokens: int = 0
    cached_tokens: int = 0

    def __post_init__(self) -> None:
        numbers = (self.started, self.seconds, self.accelerator_seconds, self.trajectories, self.tokens_generated)
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise ValueError(f"{self.benchmark}: a call's times and counts must be finite and not negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkPlan:
    """A benchmark's part of a run.

    Attributes:
        questions: Questions to be asked.
        weight: Weight in the overall score: the set's published weight, or else its number of questions.
    """

    questions: int
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """What a run is to do, and every option that decides what its samples are; a resumed run must have the same.

    Attributes:
        model: What names the weights.
        samples: Samples per question, those of all seeds together.
        seeds: Seeds that they come from, as many of each: sample `i` is of seed `i // per_seed`. A tree is of one seed.
        samplings: Labels of the ways to draw them, in the order of the report.
        benchmarks: By name, in the order of the report.
        options: All else that matters: temperature, lengths, seed, prompt template. Plain JSON values.

    Raises:
        ValueError: There is nothing to do, seeds have different numbers of samples, or a benchmark's name is no file's
            name.
    """

    model: str
    samples: int
    samplings: tuple[str, ...]
    benchmarks: dict[str, BenchmarkPlan]
    options: dict[str, Any]
    seeds: int = 1

    def __post_init__(self) -> None:
        if self.samples < 1 or not self.samplings or not self.benchmarks:
            raise ValueError("a run needs a benchmark, a sampling, and at least one sample per question")
        if self.seeds < 1 or self.samples % self.seeds:
            raise ValueError(f"{self.samples} samples per question cannot be of {self.seeds} seeds, as many of each")
        for name in self.benchmarks:
            if not _FILE_NAME.fullmatch(name):
                raise ValueError(f"benchmark name {name!r} must be letters, digits, dots, dashes and underscores")

    @property
    def per_seed(self) -> int:
        """Samples per question and seed; the width of a tree."""
        return self.samples // self.seeds


def repeats_itself(text: str) -> bool:
    """Whether a response repeats itself, by the rule and the limits that trees are stopped with by default."""
    rule = RepetitionConfig()
    return has_repetition(text, substring=rule.substring, count=rule.count, new_from=0)


@cache
def _adapter(kind: type) -> TypeAdapter:
    return TypeAdapter(kind)


def to_line(record: Any, *, left: int) -> bytes:
    """A record as one line of JSON.

    Args:
        record: A `Sample` or `Call`.
        left: Lines of the same batch that follow; a batch counts only when its last line is there.
    """
    fields = {**_adapter(type(record)).dump_python(record), "left": left}
    if fields.get("log_probs") is not None:
        fields["log_probs"] = [round(value, LOG_PROB_DIGITS) for value in fields["log_probs"]]
    # Half a surrogate pair, which a tokenizer may leave at a cut, is no Unicode text: it becomes a question mark.
    return json.dumps(fields, ensure_ascii=False, allow_nan=False).encode("utf-8", errors="replace") + b"\n"


def from_json(kind: type, text: bytes) -> Any:
    """A record of some kind from its JSON.

    Raises:
        pydantic.ValidationError: The text is no JSON, or lacks a field, or has one of another type.
    """
    return _adapter(kind).validate_json(text)


def to_plain(record: Any) -> Mapping[str, Any]:
    """A record as plain JSON values."""
    return _adapter(type(record)).dump_python(record, mode="json")
