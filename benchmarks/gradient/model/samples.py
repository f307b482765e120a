"""The samples of one shape, with all that the credits are measured by; kept, so that another credit needs no model."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gradient.arms import Shape
from benchmarks.gradient.model.decoding import Gathered, gather, grow_trees
from benchmarks.gradient.model.derivatives import Directions, Packed, hidden_states, log_probs, scores_along
from benchmarks.gradient.model.policy import Policy
from treepo.advantage import TreeRow
from treepo.files.whole import write_whole
from treepo.tree import Tree

_TIMED = 24
"""Prompts that the speed of log-probs and update is taken from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples(Gathered):
    """The trajectories of one shape, and what was seen of every token.

    Attributes:
        scores: Shape (1 + directions, trajectories, response_length): derivatives of the tokens' log-probabilities
            along the true gradient's direction, and along the prompt's own random ones.
        states: Shape (nodes, hidden size): the last hidden state before every node of every row, row after row.
        generated: Shape (prompts,), tokens generated.
        packed: Shape (prompts,), distinct tokens, the prompt's with them.
        decode_seconds: CPU seconds of decoding all of them.
        score_seconds: CPU seconds of a packed forward, per packed token.
        update_seconds: CPU seconds of a packed forward and backward, per packed token.
    """

    scores: np.ndarray
    states: np.ndarray
    generated: np.ndarray
    packed: np.ndarray
    decode_seconds: float
    score_seconds: float
    update_seconds: float


def take_samples(
    policy: Policy, shape: Shape, prompts: range, *, true: Tensor, directions: int, seed: int, batch: int
) -> Samples:
    """Grows a shape's trees and looks at every token.

    Args:
        policy: The policy.
        shape: How trajectories share tokens.
        prompts: Numbers of prompts of the training set.
        true: The true gradient's direction.
        directions: Random ones per prompt, whose mean square is the squared length of what it is asked of.
        seed: Of trees, tokens and directions.
        batch: Prompts that are decoded together.
    """
    config = policy.shaped({**shape.sampling(policy.shaped({}).width), "seed": seed})
    moves = Directions(policy.scorer)
    trees: list[Tree] = []
    scores: list[np.ndarray] = []
    states: list[np.ndarray] = []
    generated: list[int] = []
    packed_tokens: list[int] = []
    decode_seconds = 0.0
    timed: list[Packed] = []
    for first in range(prompts.start, prompts.stop, batch):
        own = range(first, min(first + batch, prompts.stop))
        grown = grow_trees(policy, own, config, seed=seed + first)
        decode_seconds += grown.cpu_seconds
        trees += grown.trees
        for number, tree in zip(own, grown.trees, strict=True):
            packed = Packed.of(tree, length=policy.response_length)
            along = [true, *(moves.signs(seed, number, index) for index in range(directions))]
            scores.append(scores_along(moves, packed, along))
            with torch.no_grad():
                hidden = hidden_states(policy.scorer, packed).float().numpy()
            for trajectory, sources in zip(tree.trajectories, packed.sources(), strict=True):
                starts = np.cumsum([0, *trajectory.path.node_lengths[:-1]])
                states.append(hidden[sources[starts]])
            generated.append(tree.stats.tokens_generated)
            packed_tokens.append(len(packed.layout))
            if len(timed) < _TIMED:
                timed.append(packed)
    score_seconds, update_seconds = _speeds(policy, timed)
    gathered = gather(policy, prompts, trees)
    return Samples(
        rows=gathered.rows,
        prompts=gathered.prompts,
        mask=gathered.mask,
        rewards=gathered.rewards,
        scores=np.concatenate(scores, axis=1),
        states=np.concatenate(states),
        generated=np.array(generated),
        packed=np.array(packed_tokens),
        decode_seconds=decode_seconds,
        score_seconds=score_seconds,
        update_seconds=update_seconds,
    )


def _speeds(policy: Policy, timed: list[Packed]) -> tuple[float, float]:
    """CPU seconds per packed token of a forward, and of a forward with its backward; the first prompt is a warm-up."""
    found = [0.0, 0.0]
    for index, packed in enumerate(timed):
        began = time.process_time()
        with torch.no_grad():
            log_probs(policy.learner, packed)
        between = time.process_time()
        log_probs(policy.learner, packed).sum().backward()
        ended = time.process_time()
        policy.learner.zero_grad()
        if index:
            found[0] += between - began
            found[1] += ended - between
    tokens = sum(len(packed.layout) for packed in timed[1:])
    return found[0] / tokens, found[1] / tokens


def save_samples(path: Path, samples: Samples) -> None:
    """Keeps samples, whole or not at all."""
    arrays: dict[str, Any] = {
        "node_ids": np.concatenate([np.array(row.node_ids) for row in samples.rows]),
        "node_lengths": np.concatenate([np.array(row.node_lengths) for row in samples.rows]),
        "depths": np.array([len(row.node_ids) for row in samples.rows]),
        "seconds": np.array([samples.decode_seconds, samples.score_seconds, samples.update_seconds]),
        **{name: getattr(samples, name) for name in _ARRAYS},
    }
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(unfinished: Path) -> None:
        with unfinished.open("wb") as file:
            np.savez(file, **arrays)

    write_whole(path, write)


def load_samples(path: Path) -> Samples:
    """Reads kept samples."""
    with np.load(path) as stored:
        stops = np.cumsum(stored["depths"])[:-1]
        paths = zip(np.split(stored["node_ids"], stops), np.split(stored["node_lengths"], stops), strict=True)
        decode_seconds, score_seconds, update_seconds = stored["seconds"].tolist()
        return Samples(
            rows=[
                TreeRow(prompt_id=str(prompt), node_ids=tuple(ids.tolist()), node_lengths=tuple(lengths.tolist()))
                for prompt, (ids, lengths) in zip(stored["prompts"].tolist(), paths, strict=True)
            ],
            decode_seconds=decode_seconds,
            score_seconds=score_seconds,
            update_seconds=update_seconds,
            **{name: stored[name] for name in _ARRAYS},
        )


_ARRAYS = ("prompts", "mask", "rewards", "scores", "states", "generated", "packed")
