"""The true gradient, as far as a large sample of its own knows it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.gradient.model.decoding import grow_trees
from benchmarks.gradient.model.derivatives import Directions, Packed, log_probs
from benchmarks.gradient.model.policy import Policy
from treepo.files.whole import write_text_whole, write_whole

PARTS = 4
"""A response's segments are told apart up to this one; the last part holds the rest."""
_PROMPTS = 64
"""Prompts that are sampled together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What is known of the true gradient.

    Attributes:
        prompts: Prompts of both halves.
        samples: Independent samples of each.
        accuracy: Share of right answers.
        squared: Squared length of the true gradient, from the product of the halves; their noise is independent.
        own: Squared cosine of the mean of the halves with the true gradient.
        parts: Products of the halves' parts by segment, shape [PARTS, PARTS], symmetric; they sum to `squared`.
    """

    prompts: int
    samples: int
    accuracy: float
    squared: float
    own: float
    parts: list[list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueGradient:
    """The direction of the true gradient.

    Attributes:
        direction: Shape (parameters,), of length one.
        known: How well it is known.
    """

    direction: Tensor
    known: Reference


def part_of(place: int, segment_length: int) -> int:
    """The part of a response that a token belongs to."""
    return min(place // segment_length, PARTS - 1)


def true_gradient(
    policy: Policy, prompts: range, *, samples: int, seed: int, folder: Path, name: str, results: Path
) -> TrueGradient:
    """Samples the true gradient, or finds it.

    It is the mean over prompts of the mean over samples of (reward - mean of the prompt's other samples) times the
    gradient of the response's log-probability, which has no bias. Even and odd prompts make the two halves.

    Args:
        policy: The policy.
        prompts: Numbers of prompts, others than those that the credits are measured on.
        samples: Of each, at least 2.
        seed: Of the samples.
        folder: Where directions are kept.
        name: Names the direction there, and what is known of it in the results.
        results: Where what is known is kept.
    """
    known, stored = results / f"{name}.json", folder / f"{name}.pt"
    if known.is_file() and stored.is_file():
        return TrueGradient(direction=torch.load(stored), known=read_reference(known))
    moves = Directions(policy.learner)
    totals = torch.zeros(2, PARTS, moves.size, dtype=torch.float64)
    right = 0
    config = policy.shaped(
        {"width": samples, "initial_divergence": [samples, samples], "max_divergence": 1, "seed": seed}
    )
    for first in range(prompts.start, prompts.stop, _PROMPTS):
        own = range(first, min(first + _PROMPTS, prompts.stop))
        for number, tree in zip(own, grow_trees(policy, own, config, seed=seed + first).trees, strict=True):
            rewards = np.array(
                [policy.reward(policy.prompts[number], trajectory.tokens) for trajectory in tree.trajectories]
            )
            right += int((rewards > 0).sum())
            if rewards.std() == 0:
                continue
            packed = Packed.of(tree, length=policy.response_length)
            advantages = (rewards - rewards.mean()) / (len(rewards) - 1)
            weights = np.repeat(advantages[:, None], policy.response_length, axis=1)
            scores = log_probs(policy.learner, packed)
            parts = np.array([part_of(place, config.segment_length) for place in range(policy.response_length)])
            for part in range(PARTS):
                labels = packed.per_label(np.where(parts == part, weights, 0.0))
                totals[number % 2, part] += moves.gradient((labels * scores).sum())
    count = len(prompts)
    halves = totals / (count / 2)
    products = halves[0] @ halves[1].T
    products = (products + products.T) / 2
    mean = halves.sum(dim=1).mean(dim=0)
    found = Reference(
        prompts=count,
        samples=samples,
        accuracy=right / (count * samples),
        squared=float(products.sum()),
        own=float(products.sum() / mean.square().sum()),
        parts=products.tolist(),
    )
    direction = mean / mean.norm()
    folder.mkdir(parents=True, exist_ok=True)
    results.mkdir(parents=True, exist_ok=True)
    write_whole(stored, lambda path: torch.save(direction, path))
    write_text_whole(known, json.dumps(asdict(found), indent=1) + "\n")
    return TrueGradient(direction=direction, known=found)


def read_reference(path: Path) -> Reference:
    """Reads what is known of a true gradient.

    Raises:
        ValueError: The file is none.
    """
    try:
        return Reference(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no reference of this version: {error}; remove it to measure it again") from error
