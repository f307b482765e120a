"""What an evaluation is asked to generate, and what may come of it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from treepo.config import TreePOConfig
from treepo.evaluation.ask.own_reward import OwnReward
from treepo.evaluation.ask.prompts import Prompts


class EvaluationError(RuntimeError):
    """Too many prompts failed; one line with the last failure."""


class Progress(Protocol):
    """Told how far the run is."""

    def begin(self, label: str, *, total: int, done: int) -> None:
        """A sampling begins, with some of its samples there already."""
        ...

    def advance(self, samples: int, right: int) -> None:
        """Samples are stored; so many of them are right."""
        ...

    def say(self, text: str) -> None:
        """A line of its own."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A prompt that could not be generated, or not wholly."""

    benchmark: str
    question: str
    sampling: str
    why: str

    def __str__(self) -> str:
        return f"{self.benchmark} question {self.question}, {self.sampling}: {self.why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What to generate, and how.

    Attributes:
        prompts: By benchmark, in the plan's order.
        trees: Options of the trees, by label of the sampling; other samplings are independent.
        seed: Run seed.
        log_probs: Whether log-probabilities are stored.
        accelerators: How many serve.
        prompts_in_flight: Prompts that are asked at a time.
        judges: Answers that are judged at a time.
        max_failures: Prompts that may fail.
        decode: Text of token ids; called from several threads.
        own_reward: Decides whether a response is right, in place of the built-in scorer; None for that.
    """

    prompts: Mapping[str, Prompts]
    trees: Mapping[str, TreePOConfig]
    seed: int
    log_probs: bool
    accelerators: int
    prompts_in_flight: int
    judges: int
    max_failures: int
    decode: Callable[[Sequence[int]], Any]
    own_reward: OwnReward | None = None


def derived_seed(seed: int, *parts: object) -> int:
    """The seed of one sample or tree, in [0, 2**63), the same in every process."""
    text = "\x1f".join(["evaluation", str(seed), *map(str, parts)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
