"""What is measured: one cell of the benchmark, and what an arm of it showed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from treepo.tree import Tree, TreeStats


class Arm(StrEnum):
    """How a prompt's trajectories come about."""

    INDEPENDENT = "independent"
    LOCKSTEP = "lockstep"
    PORTABLE = "portable"
    IN_ENGINE = "in_engine"
    IN_ENGINE_FCFS = "in_engine_fcfs"


LETTERS = {
    Arm.INDEPENDENT: "(a) independent",
    Arm.LOCKSTEP: "(b) lockstep",
    Arm.PORTABLE: "(c) portable",
    Arm.IN_ENGINE: "(d) in-engine",
    Arm.IN_ENGINE_FCFS: "(d') in-engine, slots in order of arrival",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One setting; every arm does the same work in it.

    Attributes:
        prompts: Prompts, all in flight at once.
        prompt_length: Tokens of a prompt.
        width: Trajectories per prompt.
        segment_length: Tokens per segment.
        max_depth: Segments per trajectory.
        max_divergence: Children per path and step.
        budget: The divergence budget, ``fixed`` or ``ramp``.
        lengths: The law of response lengths; see :func:`benchmarks.rollout.lengths.law`.
        slots: Sequence slots of the engine.
    """

    prompts: int
    prompt_length: int
    width: int
    segment_length: int
    max_depth: int
    max_divergence: int = 2
    budget: str = "fixed"
    lengths: str = "lognormal:0.5"
    slots: int = 64

    @property
    def longest(self) -> int:
        """Most tokens of a response."""
        return self.segment_length * self.max_depth

    @property
    def tree_options(self) -> dict[str, Any]:
        """The cell's part of TreePO's options."""
        return {
            "width": self.width,
            "segment_length": self.segment_length,
            "max_depth": self.max_depth,
            "max_divergence": self.max_divergence,
            "divergence": {"budget": self.budget},
        }

    @property
    def title(self) -> str:
        """One line."""
        return (
            f"{self.prompts} prompts of {self.prompt_length} tokens x {self.width}, {self.max_depth} x "
            f"{self.segment_length}, divergence {self.max_divergence} {self.budget}, lengths {self.lengths}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """What an arm made of one prompt.

    Attributes:
        prompt_length: Tokens of the prompt.
        lengths: Tokens of each trajectory.
        spans: Where each stretch of decoded tokens begins in its response, and its tokens; shared ones once.
        stats: What growing the tree took; None without a tree.
        discarded: Tokens received past the end of a path.
    """

    prompt_length: int
    lengths: list[int]
    spans: list[tuple[int, int]]
    stats: TreeStats | None
    discarded: int = 0

    @classmethod
    def of_tree(cls, tree: Tree, discarded: int = 0) -> "Grown":
        """What is measured of a tree."""
        spans: dict[int, tuple[int, int]] = {}
        for trajectory in tree.trajectories:
            start = 0
            for node in trajectory.nodes:
                spans[node.id] = (start, node.length)
                start += node.length
        return cls(
            prompt_length=len(tree.prompt_tokens),
            lengths=[trajectory.length for trajectory in tree.trajectories],
            spans=list(spans.values()),
            stats=tree.stats,
            discarded=discarded,
        )


def mean_context(grown: Sequence[Grown]) -> float:
    """Tokens before a decoded token, the mean over all that were decoded."""
    tokens = sum(length for each in grown for _, length in each.spans)
    before = sum(
        length * (each.prompt_length + start) + length * (length - 1) / 2
        for each in grown
        for start, length in each.spans
    )
    return before / tokens


@dataclass(slots=True, kw_only=True)
class Measured:
    """One run of one arm.

    Attributes:
        seconds: From the first request to the last trajectory.
        trajectories: Trajectories handed on.
        response_tokens: Sum of their lengths.
        generated: Tokens that the engine decoded, by its own count.
        computed: Prompt tokens that the engine computed.
        cached: Prompt tokens that it read from its prefix cache.
        requests: Requests that it was sent.
        steps: Steps of the engine.
        preempted: Times a request lost its place in the cache and computed everything before it again, uncounted.
        forks: Requests that fork from a path or a cut; 0 for independent samples.
        recomputed: Prompt tokens that it computed although a trajectory of the prompt had computed them before.
        discarded: Tokens received past the end of a path.
        context: Tokens before a decoded token, the mean over all that were decoded.
        times: Seconds since the start, a sample per engine step.
        running: Sequences that got a token in that step.
    """

    seconds: float
    trajectories: int
    response_tokens: int
    generated: int
    computed: int
    cached: int
    requests: int
    steps: int
    preempted: int = 0
    forks: int = 0
    recomputed: int = 0
    discarded: int = 0
    context: float = 0.0
    times: list[float] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
