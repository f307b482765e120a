"""A tree process whose true prefix values are known; the ground of `benchmarks.bias`.

A response is a walk: every segment is one token, a step up or down, and ends the response with a fixed hazard. The walk
and its length decide how likely the response is right, so the value of every prefix follows exactly, from the last
segment back.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from treepo.config import load_config
from treepo.rollout import grow_at_once
from treepo.tree import Segment, SegmentRequest, Tree, TreeSampler

UP, ENDS = 1, 2  # bits of a token
INDEPENDENT = "independent"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """How responses are scored: right with probability logistic(base + slope x walk - decay x share of the depth used).

    Attributes:
        moving: Segments whose step moves the walk, from the first; None: all.
        cut_off_fails: Whether a response that did not end by itself is wrong, whatever its walk.
    """

    name: str
    base: float
    slope: float
    decay: float
    moving: int | None = None
    cut_off_fails: bool

    def moves(self, segment: int) -> bool:
        """Whether the step of a segment, counted from 0, moves the walk."""
        return self.moving is None or segment < self.moving

    def seen(self, walks: np.ndarray) -> np.ndarray:
        """Walks as this world sees them.

        Args:
            walks: Shape (trajectories, depth + 1), after so many segments, if every step counts.
        """
        return walks[:, np.minimum(np.arange(walks.shape[1]), walks.shape[1] if self.moving is None else self.moving)]

    def success(self, walk: np.ndarray, segments: int | np.ndarray, depth: int, *, ended: bool) -> np.ndarray:
        """Probability that responses of so many segments are right; same shape as `walk`, their steps up less down."""
        if self.cut_off_fails and not ended:
            return np.zeros(walk.shape)
        return 1 / (1 + np.exp(-(self.base + self.slope * walk - self.decay * segments / depth)))


WORLDS = (
    World(name="length matters", base=1.0, slope=0.4, decay=2.0, cut_off_fails=True),
    # The first segment decides: what is right does not depend on length, at any prefix and not by symmetry alone.
    World(name="control", base=1.0, slope=1.0, decay=0.0, moving=1, cut_off_fails=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One way of growing trees; `hazard` is the chance of a segment to end its response."""

    depth: int
    hazard: float
    budget: str
    fallback: bool

    def options(self, width: int) -> dict[str, Any]:
        """Options of `treepo`."""
        options: dict[str, Any] = {
            "width": width,
            "segment_length": 1,
            "max_depth": self.depth,
            "termination": {"repetition": {"enabled": False}},
            "fallback": {"cut": "random" if self.fallback else "none"},
        }
        if self.budget == INDEPENDENT:
            return {**options, "max_divergence": 1, "initial_divergence": [width, width]}
        return {**options, "max_divergence": 2, "divergence": {"budget": self.budget}}


def cells(depths: Sequence[int], hazards: Sequence[float]) -> Iterator[Cell]:
    """The grid; independent samples, which need no fallback, come first in each block."""
    for depth, hazard in itertools.product(depths, hazards):
        yield Cell(depth=depth, hazard=hazard, budget=INDEPENDENT, fallback=False)
        for budget, fallback in itertools.product(("fixed", "ramp"), (False, True)):
            yield Cell(depth=depth, hazard=hazard, budget=budget, fallback=fallback)


def true_values(world: World, depth: int, hazard: float) -> np.ndarray:
    """Value of every prefix: the chance of a response that continues from it to be right.

    Returns:
        Shape (depth, 2 depth + 1): by segments so far and by the walk, which starts at column `depth`.
    """
    walk = np.arange(-depth - 1, depth + 2)  # a margin of one on both sides
    values = np.zeros((depth, len(walk)))
    going_on = world.success(walk, depth, depth, ended=False)
    for segments in range(depth - 1, -1, -1):
        ended = world.success(walk, segments + 1, depth, ended=True)
        after = hazard * ended + (1 - hazard) * going_on
        # At the rim a step leaves the table; no walk of so few segments gets there.
        values[segments, 1:-1] = (after[:-2] + after[2:]) / 2 if world.moves(segments) else after[1:-1]
        going_on = values[segments]
    return values[:, 1:-1]


def grow(cell: Cell, *, width: int, prompt: int, seed: int) -> Tree:
    """Grows one tree."""
    draw = random.Random(f"{seed} {cell} {prompt}")
    sampler = TreeSampler(
        prompt_id=str(prompt),
        prompt_tokens=[0],
        config=load_config({**cell.options(width), "seed": seed}),
        max_response_length=cell.depth + 1,
        eos_token_ids=frozenset({ENDS, ENDS | UP}),
        decode=lambda tokens: "",
    )

    def answer(request: SegmentRequest) -> Segment:
        ends = draw.random() < cell.hazard
        token = draw.getrandbits(1) * UP + ends * ENDS
        return Segment(request_id=request.id, tokens=[token], log_probs=[-1.0], stopped=ends)

    return grow_at_once(sampler, answer)
