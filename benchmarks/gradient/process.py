"""Responses whose mistakes, values and gradients are known.

A response has some lines of 16 tokens. At two tokens of every line a slip may happen; where mistakes can be mended, one
token of every line may mend all slips before it. A response is right where no slip is left open at its end. The first
lines may decide nothing: slips happen there as anywhere, and count for nothing. How likely slips are depends on the
prompt. There is no model and no engine: trees are grown by the real sampler, and the value of every prefix and the true
gradient follow exactly.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from treepo.advantage import TreeRow
from treepo.config import load_config
from treepo.rollout import grow_at_once
from treepo.tree import Segment, SegmentRequest, Tree, TreeSampler

RIGHT, SLIP, END, MEND = 1, 2, 3, 4
LINE, SLIP_EVERY, MEND_PLACE = 16, 8, 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What responses look like; prompts take the values of a tuple in turn.

    Attributes:
        name: Names it in tables and files.
        lines: Lines of a prompt's responses.
        chances: Chance to slip at each of the two places of a line.
        mend: Chance that open slips are mended at the mending place of a line.
        idle: First lines that decide nothing.
        width: Trajectories of a prompt.
        segment: Tokens of a segment.
    """

    name: str
    lines: tuple[int, ...] = (3, 4, 5)
    chances: tuple[float, ...] = (0.16,)
    mend: float = 0.0
    idle: int = 0
    width: int = 8
    segment: int = 24

    @property
    def longest(self) -> int:
        """Tokens of the longest response, its end included."""
        return LINE * max(self.lines) + 1

    def lines_of(self, prompt: int) -> int:
        """Lines of a prompt's responses."""
        return self.lines[prompt % len(self.lines)]

    def chance_of(self, prompt: int) -> float:
        """A prompt's chance to slip."""
        return self.chances[prompt // len(self.lines) % len(self.chances)]


PROCESSES = (
    Process(name="equal"),
    Process(name="unequal", chances=(0.02, 0.08, 0.16, 0.3)),
    Process(name="mendable", chances=(0.25,), mend=0.4),
    Process(name="idle", lines=(5, 6, 7), idle=2),
    Process(name="long", lines=(20,), chances=(0.01, 0.03, 0.06), width=16, segment=32),
    Process(name="long idle", lines=(20,), chances=(0.02, 0.06, 0.12), idle=10, width=16, segment=32),
)
"""What the table is about; `long` and `long idle` have 20 lines and width 16."""


def is_slip_place(place: int) -> bool:
    """Whether a slip may happen at this token of a response, counted from 0."""
    return place % SLIP_EVERY == SLIP_EVERY - 1


def is_mend_place(place: int) -> bool:
    """Whether slips may be mended at this token."""
    return place % LINE == MEND_PLACE


def grow(process: Process, sampling: Mapping[str, Any], *, prompt: int, seed: int) -> Tree:
    """Grows the tree of one prompt.

    Args:
        process: What responses look like.
        sampling: Options of `treepo` besides those that all shapes share.
        prompt: Its number.
        seed: Of the sampler and of all mistakes.
    """
    length, chance = LINE * process.lines_of(prompt), process.chance_of(prompt)
    draw = random.Random(f"{seed} {process.name} {prompt} {sampling}")
    options = {
        "width": process.width,
        "segment_length": process.segment,
        "max_depth": -(-process.longest // process.segment),
        "termination": {"repetition": {"enabled": False}},
        **sampling,
        "seed": seed,
    }
    sampler = TreeSampler(
        prompt_id=str(prompt),
        prompt_tokens=[0],
        config=load_config(options),
        max_response_length=length + 1,
        eos_token_ids=frozenset({END}),
        decode=lambda tokens: "",
    )

    def answer(request: SegmentRequest) -> Segment:
        prefix = request.prefix_tokens([0])[1:]
        start, stop = len(prefix), min(len(prefix) + request.max_tokens, length + 1)
        slipped = False
        for place, token in enumerate(prefix):
            slipped = token != MEND and (slipped or (token == SLIP and place // LINE >= process.idle))
        tokens = [RIGHT] * (stop - start)
        for place in range(start, min(stop, length)):
            if is_slip_place(place) and draw.random() < chance:
                tokens[place - start] = SLIP
                slipped = slipped or place // LINE >= process.idle
            elif is_mend_place(place) and slipped and draw.random() < process.mend:
                tokens[place - start] = MEND
                slipped = False
        if stop == length + 1:
            tokens[-1] = END
        return Segment(request_id=request.id, tokens=tokens, log_probs=[-1.0] * len(tokens), stopped=END in tokens)

    return grow_at_once(sampler, answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The trajectories of some prompts.

    Attributes:
        process: What they come from.
        rows: Their paths.
        tokens: Shape (trajectories, response_length), 0 behind the end.
        prompts: Shape (trajectories,), the prompt of each.
        slipped: Bool, shape (trajectories, response_length + 1), whether a slip that counts is open before each token,
            and at the end.
        scores: Shape (2, trajectories, response_length), derivatives of the tokens' log-probabilities by the logits of
            a slip and of mending.
        generated: Tokens generated, shared ones once.
    """

    process: Process
    rows: list[TreeRow]
    tokens: np.ndarray
    prompts: np.ndarray
    slipped: np.ndarray
    scores: np.ndarray
    generated: int

    @property
    def mask(self) -> np.ndarray:
        """The tokens of the responses: bool, shape (trajectories, response_length)."""
        return self.tokens > 0

    @property
    def rewards(self) -> np.ndarray:
        """-1 for a response with an open slip, else 1."""
        return np.where(self.slipped[:, -1], -1.0, 1.0)


def grow_batch(process: Process, sampling: Mapping[str, Any], *, prompts: range, seed: int) -> Batch:
    """Grows the trees of some prompts."""
    grown = [(prompt, grow(process, sampling, prompt=prompt, seed=seed)) for prompt in prompts]
    found = [(prompt, trajectory) for prompt, tree in grown for trajectory in tree.trajectories]
    tokens = np.zeros((len(found), process.longest), dtype=np.int64)
    for row, (_, trajectory) in enumerate(found):
        tokens[row, : trajectory.length] = trajectory.tokens
    nodes = {(prompt, node.id): node.length for prompt, trajectory in found for node in trajectory.nodes}
    rows = [
        TreeRow(prompt_id=str(prompt), node_ids=one.path.node_ids, node_lengths=one.path.node_lengths)
        for prompt, one in found
    ]
    numbers = np.array([prompt for prompt, _ in found])
    slipped = open_slips(process, tokens)
    return Batch(
        process=process,
        rows=rows,
        tokens=tokens,
        prompts=numbers,
        slipped=slipped,
        scores=token_scores(process, tokens, numbers, slipped),
        generated=sum(nodes.values()),
    )


def open_slips(process: Process, tokens: np.ndarray) -> np.ndarray:
    """Whether a slip that counts is open before each token, and at the end."""
    slipped = np.zeros((len(tokens), tokens.shape[1] + 1), dtype=bool)
    for place in range(tokens.shape[1]):
        counts, token = place // LINE >= process.idle, tokens[:, place]
        slipped[:, place + 1] = (slipped[:, place] | ((token == SLIP) & counts)) & (token != MEND)
    return slipped


def token_scores(process: Process, tokens: np.ndarray, prompts: np.ndarray, slipped: np.ndarray) -> np.ndarray:
    """Derivatives of the tokens' log-probabilities by the logits of a slip and of mending."""
    places = np.arange(tokens.shape[1])
    chance = np.array([process.chance_of(int(prompt)) for prompt in prompts])[:, None]
    live = (tokens > 0) & (tokens != END)
    slips = np.array([is_slip_place(place) for place in places]) & live
    mends = np.array([is_mend_place(place) for place in places]) & live & slipped[:, :-1]
    return np.stack(
        [
            np.where(slips, (tokens == SLIP) - chance, 0.0),
            np.where(mends, (tokens == MEND) - process.mend, 0.0),
        ]
    )


def values(process: Process, prompt: int) -> np.ndarray:
    """The expected reward before every token, shape (2, tokens + 1): without and with an open slip."""
    length, chance = LINE * process.lines_of(prompt), process.chance_of(prompt)
    found = np.empty((2, length + 2))
    found[:, length:] = [[1.0, 1.0], [-1.0, -1.0]]
    for place in range(length - 1, -1, -1):
        found[:, place] = found[:, place + 1]
        if is_slip_place(place) and place // LINE >= process.idle:
            found[0, place] = (1 - chance) * found[0, place + 1] + chance * found[1, place + 1]
        if is_mend_place(place):
            found[1, place] = (1 - process.mend) * found[1, place + 1] + process.mend * found[0, place + 1]
    return found


def true_gradient(process: Process, prompt: int) -> np.ndarray:
    """The gradient of the expected reward by the logits of a line's slips and of mending, shape (2, lines)."""
    lines, chance = process.lines_of(prompt), process.chance_of(prompt)
    value = values(process, prompt)
    gradient = np.zeros((2, max(process.lines)))
    slipped = 0.0  # chance of an open slip
    for place in range(LINE * lines):
        line = place // LINE
        if is_slip_place(place) and line >= process.idle:
            gradient[0, line] += (1 - slipped) * chance * (1 - chance) * (value[1, place + 1] - value[0, place + 1])
            slipped += (1 - slipped) * chance
        if is_mend_place(place):
            rate = process.mend
            gradient[1, line] += slipped * rate * (1 - rate) * (value[0, place + 1] - value[1, place + 1])
            slipped *= 1 - rate
    return gradient


def gradients(batch: Batch, advantages: np.ndarray) -> np.ndarray:
    """What advantages make of the samples: the ascent direction per prompt, over its number of trajectories.

    Args:
        batch: The trajectories.
        advantages: Shape (trajectories, response_length).

    Returns:
        Shape (prompts, 2, lines): by the logits of a line's slips and of mending, prompts in ascending order.
    """
    lines = max(batch.process.lines)
    _, index = np.unique(batch.prompts, return_inverse=True)
    weighed = (batch.scores * advantages)[:, :, : LINE * lines]
    by_row = weighed.reshape(2, len(batch.rows), lines, LINE).sum(axis=3).transpose(1, 0, 2)
    found = np.zeros((index.max() + 1, 2, lines))
    np.add.at(found, index, by_row)
    return found / np.bincount(index)[:, None, None]
