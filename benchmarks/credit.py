"""Where the estimators put the credit, on responses whose mistakes are known.

    python -m benchmarks.credit

A response has some lines, every line some places where a slip may happen, and is wrong where one did. So the right
gradient is known: the chance to slip must fall, at every line. What an estimator makes of it is measured per prompt, as
the gradient with respect to the logit of a slip, and reported as its mean over its standard deviation, the signal:
one over its square is the number of prompts whose mean gradient is as large as its noise. No model and no engine; the
trees are grown by the real sampler, and the advantages are the estimators' own.
"""

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from treepo.advantage import ESTIMATORS, TreeRow
from treepo.config import load_config
from treepo.rollout import grow_at_once
from treepo.tree import Segment, SegmentRequest, Tree, TreeSampler

RIGHT, SLIP, END = 1, 2, 3
LINE, LINES, SLIP_EVERY = 16, (3, 4, 5), 8
SLIP_CHANCE = 0.16
WIDTH, SEGMENT = 8, 24
# Credit by the prompt's group alone: less its mean, and for GRPO over its standard deviation.
_MEAN, _GRPO = "group mean", "grpo"
_FORKS_AT_THE_ROOT = {"max_divergence": 1, "divergence": {"transfer": False}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One way to sample and to credit.

    Attributes:
        name: Names it in the table.
        estimator: One over trees, or credit by the prompt's group alone: ``grpo`` or ``group mean``.
        sampling: Options of ``treepo`` besides those that all share.
        credit: Options of ``treepo.advantage``.
    """

    name: str
    estimator: str = "treepo"
    sampling: dict[str, Any] = field(default_factory=dict)
    credit: dict[str, Any] = field(default_factory=dict)


ARMS = (
    Arm(
        name="independent samples, GRPO",
        estimator=_GRPO,
        sampling={"initial_divergence": [WIDTH, WIDTH], "max_divergence": 1},
    ),
    Arm(name="trees, GRPO", estimator=_GRPO),
    Arm(name="trees, the group's mean alone", estimator=_MEAN),
    Arm(name="`treepo`"),
    Arm(name="`treepo_segment`", estimator="treepo_segment"),
    Arm(name="`treepo_spo`", estimator="treepo_spo"),
    Arm(name="`treepo`, `branch_weights`", credit={"branch_weights": True}),
    Arm(name="`treepo`, size weighting", credit={"subgroup_weighting": "group_size"}),
    Arm(name="`treepo`, rejection", credit={"reject_degenerate": True}),
    Arm(name="`treepo`, no root term", credit={"include_root": False}),
    Arm(name="`treepo`, 2 first segments", sampling={"initial_divergence": None}),
    Arm(name="`treepo`, 8 first segments", sampling={"initial_divergence": [WIDTH, WIDTH]}),
    Arm(name="`treepo`, forks at the root alone", sampling=_FORKS_AT_THE_ROOT),
    Arm(
        name="`treepo`, the same, misaligned cuts",
        sampling={**_FORKS_AT_THE_ROOT, "fallback": {"window": 28}},
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The trajectories of many prompts.

    Attributes:
        rows: Their paths.
        tokens: Shape (trajectories, response_length), 0 behind the end.
        prompts: Shape (trajectories,), the prompt of each.
        generated: Tokens generated, shared ones once.
    """

    rows: list[TreeRow]
    tokens: np.ndarray
    prompts: np.ndarray
    generated: int

    @property
    def rewards(self) -> np.ndarray:
        """-1 for a response with a slip, else 1."""
        return np.where((self.tokens == SLIP).any(axis=1), -1.0, 1.0)


def may_slip(place: int) -> bool:
    """Whether a slip may happen at this token of a response, counted from 0."""
    return place % SLIP_EVERY == SLIP_EVERY - 1


def grow(arm: Arm, *, prompt: int, seed: int) -> Tree:
    """Grows the tree of one prompt, whose responses have as many lines as its number says."""
    length = LINE * LINES[prompt % len(LINES)]
    draw = random.Random(f"{seed} {prompt} {arm.sampling}")
    options = {"width": WIDTH, "segment_length": SEGMENT, "max_depth": 5, "initial_divergence": [2, 4]}
    repetition = {"termination": {"repetition": {"enabled": False}}}
    sampler = TreeSampler(
        prompt_id=str(prompt),
        prompt_tokens=[0],
        config=load_config({**options, **repetition, **arm.sampling, "seed": seed}),
        max_response_length=length + 1,
        eos_token_ids=frozenset({END}),
        decode=lambda tokens: "",
    )

    def answer(request: SegmentRequest) -> Segment:
        start = len(request.prefix_tokens([0])) - 1
        places = range(start, min(start + request.max_tokens, length + 1))
        tokens = [
            END if place == length else SLIP if may_slip(place) and draw.random() < SLIP_CHANCE else RIGHT
            for place in places
        ]
        return Segment(request_id=request.id, tokens=tokens, log_probs=[-1.0] * len(tokens), stopped=END in tokens)

    return grow_at_once(sampler, answer)


def grow_batch(arm: Arm, *, prompts: int, seed: int) -> Batch:
    """Grows the trees of some prompts."""
    grown = [(prompt, grow(arm, prompt=prompt, seed=seed)) for prompt in range(prompts)]
    found = [(prompt, trajectory) for prompt, tree in grown for trajectory in tree.trajectories]
    tokens = np.zeros((len(found), LINE * max(LINES) + 1), dtype=np.int64)
    for row, (_, trajectory) in enumerate(found):
        tokens[row, : trajectory.length] = trajectory.tokens
    shared: dict[tuple[int, int], int] = {}
    for prompt, trajectory in found:
        shared.update({(prompt, node.id): node.length for node in trajectory.nodes})
    return Batch(
        rows=[
            TreeRow(prompt_id=str(prompt), node_ids=one.path.node_ids, node_lengths=one.path.node_lengths)
            for prompt, one in found
        ],
        tokens=tokens,
        prompts=np.array([prompt for prompt, _ in found]),
        generated=sum(shared.values()),
    )


def advantages(arm: Arm, batch: Batch) -> np.ndarray:
    """The arm's advantages, shape (trajectories, response_length)."""
    mask = batch.tokens > 0
    if arm.estimator in (_MEAN, _GRPO):
        scores = _group_scores(batch.rewards, batch.prompts, over_spread=arm.estimator == _GRPO)
        return np.where(mask, scores[:, None], 0.0)
    return (
        ESTIMATORS[arm.estimator](
            rewards=torch.from_numpy(batch.rewards),
            response_mask=torch.from_numpy(mask.astype(np.float32)),
            rows=batch.rows,
            options=load_config({"advantage": arm.credit}).advantage,
        )
        .double()
        .numpy()
    )


def _group_scores(rewards: np.ndarray, prompts: np.ndarray, *, over_spread: bool) -> np.ndarray:
    """Reward less the mean of the prompt's group, over its standard deviation if asked for."""
    scores = np.zeros(len(rewards))
    for prompt in np.unique(prompts):
        group = prompts == prompt
        scores[group] = rewards[group] - rewards[group].mean()
        if over_spread:
            scores[group] /= rewards[group].std(ddof=1) + 1e-6
    return scores


def slip_gradients(batch: Batch, values: np.ndarray) -> np.ndarray:
    """Ascent direction on the logit of a slip.

    Args:
        batch: The trajectories.
        values: Advantages, shape (trajectories, response_length).

    Returns:
        Shape (prompts, lines): per prompt and line, summed over its trajectories; NaN where it has no such line.
    """
    places = np.arange(batch.tokens.shape[1])
    may = np.array([may_slip(place) for place in places]) & (batch.tokens > 0) & (batch.tokens != END)
    score = np.where(batch.tokens == SLIP, 1 - SLIP_CHANCE, -SLIP_CHANCE)
    by_place = np.where(may, values * score, 0.0)
    prompts = int(batch.prompts.max()) + 1
    gradients = np.full((prompts, max(LINES)), np.nan)
    for line in range(max(LINES)):
        within = places // LINE == line
        sums = np.bincount(batch.prompts, weights=by_place[:, within].sum(axis=1), minlength=prompts)
        has = np.array([LINES[prompt % len(LINES)] > line for prompt in range(prompts)])
        gradients[has, line] = sums[has]
    return gradients


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """What an arm makes of the slips; signals are means over standard deviations, over prompts.

    Attributes:
        tokens: Generated per prompt.
        signal: Of the gradient that makes slips rarer.
        error: Its standard error.
        by_line: Of every line's own.
    """

    tokens: float
    signal: float
    error: float
    by_line: list[float]

    def per_token(self, other: "Credit") -> float:
        """Prompts' worth of signal per token generated, over the other's."""
        return (self.signal**2 / self.tokens) / (other.signal**2 / other.tokens)


def measure(arm: Arm, *, prompts: int, seed: int) -> Credit:
    """Grows an arm's trees and measures its credit."""
    batch = grow_batch(arm, prompts=prompts, seed=seed)
    gradients = slip_gradients(batch, advantages(arm, batch))
    whole = -np.nansum(gradients, axis=1)
    signal = _signal(whole)
    return Credit(
        tokens=batch.generated / prompts,
        signal=signal,
        # Of a mean over a standard deviation, for normal values.
        error=float(np.sqrt((1 + signal**2 / 2) / prompts)),
        by_line=[_signal(-gradients[~np.isnan(gradients[:, line]), line]) for line in range(max(LINES))],
    )


def _signal(values: np.ndarray) -> float:
    spread = float(values.std(ddof=1))
    return float(values.mean()) / spread if spread > 0 else 0.0


def table(measured: Sequence[tuple[Arm, Credit]]) -> str:
    """The page's table; the first arm is the one that others are relative to."""
    head = ["sampling and credit", "tokens per prompt", "signal", "signal² per token"]
    head += [f"line {line + 1}" for line in range(max(LINES))]
    rows = [
        [
            arm.name,
            f"{credit.tokens:.0f}",
            f"{credit.signal:.2f} ± {credit.error:.2f}",
            f"{credit.per_token(measured[0][1]):.2f}",
            *(f"{value:+.2f}" for value in credit.by_line),
        ]
        for arm, credit in measured
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(say: Callable[[str], None] = print) -> None:
    """Measures all arms and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=2000, help="per arm")
    parser.add_argument("--seed", type=int, default=0, help="of trees and slips")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    say(table([(arm, measure(arm, prompts=arguments.prompts, seed=arguments.seed)) for arm in ARMS]))


if __name__ == "__main__":
    main()
