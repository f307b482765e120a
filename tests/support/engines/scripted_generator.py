"""A generator without a model: what it says follows from the seed, and it can be ended wherever a test likes."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from treepo.config import TreePOConfig, load_config
from treepo.evaluation import INDEPENDENT, BenchmarkPlan, RunPlan, tree_label
from treepo.evaluation.ask.benchmarks import Benchmark, Question
from treepo.evaluation.ask.generator import Generated, Response
from treepo.evaluation.ask.prompts import Prompt, Prompts
from treepo.evaluation.ask.work import Work
from treepo.tree import FinishReason, NodePath

TREE = tree_label(2)


class Killed(BaseException):
    """Ends a run from within, as no handler of errors expects it."""


class ScriptedGenerator:
    """Says 2 or 3 in a box, by the seed.

    Attributes:
        asked: Every call: sampling, question, seed.
        forgotten: Calls that had been made each time the prefixes were forgotten.
        warm_ups: Times it was warmed up.
        most_prompts: Most prompts that were generated at a time.
    """

    def __init__(self, *, killed_after: int | None = None, broken: Sequence[str] = (), short: bool = False) -> None:
        self.asked: list[tuple[str, str, int]] = []
        self.forgotten: list[int] = []
        self.warm_ups = 0
        self.most_prompts = 0
        self._killed_after, self._broken, self._short = killed_after, broken, short
        self._running: list[str] = []

    async def sample(self, prompt: Prompt, *, seed: int) -> Generated:
        await self._work(INDEPENDENT, prompt, seed)
        return self._generated([_response(seed, None)])

    async def grow(self, prompt: Prompt, *, options: TreePOConfig) -> Generated:
        await self._work(tree_label(options.max_divergence), prompt, options.seed)
        width = options.width - self._short
        return self._generated([_response(options.seed + index, index) for index in range(width)])

    async def warm_up(self, prompt: Prompt) -> None:
        assert not self.asked
        self.warm_ups += 1

    async def forget_prefixes(self) -> None:
        assert not self._running
        self.forgotten.append(len(self.asked))

    async def _work(self, sampling: str, prompt: Prompt, seed: int) -> None:
        name = prompt.question.id
        self.asked.append((sampling, name, seed))
        self._running.append(name)
        self.most_prompts = max(self.most_prompts, len(set(self._running)))
        try:
            # Always some turns of the loop, so that calls end in an order of their own.
            for _ in range(random.Random(seed).randint(1, 5)):
                await asyncio.sleep(0)
            if self._killed_after is not None and len(self.asked) > self._killed_after:
                raise Killed
            if name in self._broken:
                raise RuntimeError("the engine refuses")
        finally:
            self._running.remove(name)

    def _generated(self, responses: list[Response]) -> Generated:
        tokens = sum(len(response.tokens) for response in responses)
        return Generated(responses=tuple(responses), tokens_generated=tokens, prefix_tokens=3, cached_tokens=1)


def _response(seed: int, leaf: int | None) -> Response:
    text = rf"it is \boxed{{{random.Random(seed).choice('23')}}}"
    tokens = list(text.encode())
    path = None
    if leaf is not None:
        path = NodePath(node_ids=(1, 2 + leaf), node_lengths=(3, len(tokens) - 3))
    return Response(tokens=tokens, log_probs=(-0.5,) * len(tokens), finish=FinishReason.EOS, path=path)


def prompts(name: str = "sums", questions: int = 4) -> Prompts:
    found = [
        Question(
            benchmark=name,
            id=f"q{number}",
            data_source="tests/sums",
            messages=({"role": "user", "content": f"1 + 1, for the {number}th time?"},),
            truths=("2",),
        )
        for number in range(questions)
    ]
    made = tuple(Prompt(question=question, tokens=(1, 2, 3), text=f"prompt of {question.id}") for question in found)
    benchmark = Benchmark(name=name, weight=float(questions), questions=tuple(found), sha256="0" * 64)
    return Prompts(benchmark=benchmark, prompts=made, too_long=())


def work(**fields: Any) -> Work:
    """Two small benchmarks, or what the fields say."""
    trees = load_config({"width": 3, "max_divergence": 2, "segment_length": 16})
    filled: dict[str, Any] = {
        "prompts": {"sums": prompts("sums", 4), "more": prompts("more", 2)},
        "trees": {TREE: trees},
        "seed": 0,
        "log_probs": False,
        "accelerators": 2,
        "prompts_in_flight": 3,
        "judges": 2,
        "max_failures": 2,
        "decode": lambda tokens: bytes(tokens).decode(),
    }
    return Work(**{**filled, **fields})


def plan_of(asked: Work, **fields: Any) -> RunPlan:
    """Three samples a question, independent and as trees, or what the fields say."""
    filled: dict[str, Any] = {
        "model": "scripted",
        "samples": 3,
        "samplings": (INDEPENDENT, TREE),
        "benchmarks": {
            name: BenchmarkPlan(questions=len(each.prompts), weight=each.benchmark.weight)
            for name, each in asked.prompts.items()
        },
        "options": {"seed": asked.seed},
    }
    return RunPlan(**{**filled, **fields})


class Silent:
    """A progress that is only counted.

    Attributes:
        said: Lines.
        begun: Label, total and done of every sampling.
        samples: Samples stored.
    """

    def __init__(self) -> None:
        self.said: list[str] = []
        self.begun: list[tuple[str, int, int]] = []
        self.samples = 0

    def begin(self, label: str, *, total: int, done: int) -> None:
        self.begun.append((label, total, done))

    def advance(self, samples: int, right: int) -> None:
        assert 0 <= right <= samples
        self.samples += samples

    def say(self, text: str) -> None:
        self.said.append(text)


def cut(file: Path, lost_bytes: int) -> None:
    """Takes bytes from the end of a file, as a machine that fails does."""
    data = file.read_bytes()
    file.write_bytes(data[: max(0, len(data) - lost_bytes)])
