"""From gradients per prompt to alignment, signal and intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.gradient.arms import ARMS, Shape, sampling
from benchmarks.gradient.process import Process, gradients, grow_batch, true_gradient

REFERENCE_ARM = "grpo"
BATCH = 60
"""Prompts of a batch: what whitening, the other prompts' mean and `shrink=auto` look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What one credit makes of one shape of trees.

    The gradient looked at has one slip logit and one mending logit for all lines; "along" is along the true one.

    Attributes:
        arm: The credit.
        prompts: How many.
        signal: Mean over standard deviation, over prompts, along the true gradient.
        signal_error: Its standard error.
        alignment: Cosine of the mean gradient by line with the true one, free of the bias that its noise has; None
            where it cannot be told from zero.
        over_grpo: Squared signal over that of GRPO's credit on the same trees.
        over_grpo_error: Its standard error, from the pairs of numbers that every prompt has.
        by_part: Signal of the lines' own slips, for the first to the last quarter of the lines that decide something.
    """

    arm: str
    prompts: int
    signal: float
    signal_error: float
    alignment: float | None
    over_grpo: float
    over_grpo_error: float
    by_part: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """All credits on the same trees of one shape.

    Attributes:
        process: Its name.
        shape: Its name.
        prompts: How many.
        seed: Of trees and mistakes.
        generated: Tokens generated per prompt.
        in_rows: Tokens of the rows per prompt, shared ones in every row.
        measures: One per credit.
    """

    process: str
    shape: str
    prompts: int
    seed: int
    generated: float
    in_rows: float
    measures: list[Measure]


def measure_cell(process: Process, shape: Shape, *, prompts: int, seed: int) -> Cell:
    """Grows a shape's trees and measures every credit on them.

    Raises:
        ValueError: Fewer than two prompts.
    """
    if prompts < 2:
        raise ValueError(f"--prompts={prompts} is refused: a signal needs at least 2")
    found: dict[str, list[np.ndarray]] = {arm.name: [] for arm in ARMS}
    generated = in_rows = 0
    for first in range(0, prompts, BATCH):
        own = range(first, min(first + BATCH, prompts))
        batch = grow_batch(process, sampling(process, shape), prompts=own, seed=seed)
        generated += batch.generated
        in_rows += int((batch.tokens > 0).sum())
        for arm in ARMS:
            found[arm.name].append(gradients(batch, arm.credit(batch)))
    true = np.stack([true_gradient(process, prompt) for prompt in range(prompts)])
    return Cell(
        process=process.name,
        shape=shape.name,
        prompts=prompts,
        seed=seed,
        generated=generated / prompts,
        in_rows=in_rows / prompts,
        measures=[
            measure(
                arm.name,
                np.concatenate(found[arm.name]),
                true,
                grpo=np.concatenate(found[REFERENCE_ARM]),
                idle=process.idle,
            )
            for arm in ARMS
        ],
    )


def measure(arm: str, by_prompt: np.ndarray, true: np.ndarray, *, grpo: np.ndarray, idle: int) -> Measure:
    """Compares gradients with the true ones.

    Args:
        arm: The credit's name.
        by_prompt: Shape (prompts, 2, lines), what the credit makes.
        true: The same of the true gradient.
        grpo: The same that GRPO's credit makes of the same trees.
        idle: First lines that decide nothing.
    """
    direction = true.mean(axis=0).sum(axis=1)
    along, reference = (found.sum(axis=2) @ direction / np.linalg.norm(direction) for found in (by_prompt, grpo))
    value = signal(along)
    over, over_error = squared_ratio(along, reference)
    parts = np.array_split(np.arange(idle, true.shape[2]), 4)
    return Measure(
        arm=arm,
        prompts=len(along),
        signal=value,
        signal_error=signal_error(value, len(along)),
        alignment=alignment(by_prompt.reshape(len(along), -1), true.mean(axis=0).ravel()),
        over_grpo=over,
        over_grpo_error=over_error,
        by_part=[signal(-by_prompt[:, 0, part].sum(axis=1)) if len(part) else 0.0 for part in parts],
    )


def signal(values: np.ndarray) -> float:
    """Mean over standard deviation; 0 where nothing varies."""
    spread = float(values.std(ddof=1))
    return float(values.mean()) / spread if spread > 0 else 0.0


def squared_ratio(own: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Squared signal over another's on the same prompts, and its standard error.

    The error is that of the logarithm, from what every prompt adds to it (the delta method).
    """
    base = signal(other)
    if base == 0:
        return math.nan, math.nan
    ratio = (signal(own) / base) ** 2
    shares = [_share(values) for values in (own, other)]
    return ratio, 2 * ratio * float((shares[0] - shares[1]).std(ddof=1)) / math.sqrt(len(own))


def _share(values: np.ndarray) -> np.ndarray:
    """What every value adds to the logarithm of their signal, to first order."""
    mean, variance = values.mean(), values.var(ddof=1)
    if mean == 0 or variance == 0:
        return np.zeros(len(values))
    return (values - mean) / mean - ((values - mean) ** 2 - variance) / (2 * variance)


def signal_error(value: float, count: int) -> float:
    """Standard error of a mean over a standard deviation, for values that are about normal."""
    return math.sqrt((1 + value**2 / 2) / count)


def alignment(by_prompt: np.ndarray, true: np.ndarray) -> float | None:
    """Cosine of the mean with the true gradient.

    The squared length of the mean is taken as the product of the means of two halves, whose noise is independent.

    Args:
        by_prompt: Shape (prompts, components).
        true: Shape (components,).

    Returns:
        The cosine, which noise may take beyond 1; None where the halves disagree.
    """
    halves = by_prompt[::2].mean(axis=0), by_prompt[1::2].mean(axis=0)
    squared = float(halves[0] @ halves[1])
    if squared <= 0:
        return None
    return float(by_prompt.mean(axis=0) @ true) / math.sqrt(squared) / float(np.linalg.norm(true))


def worth(own: Measure, tokens: float, other: Measure, other_tokens: float) -> tuple[float, float]:
    """Squared signal per token over another's, and the half width of its interval of 95 %.

    Independent samples are assumed, which makes the interval of credits on the same trees too wide.
    """
    ratio = (own.signal**2 / tokens) / (other.signal**2 / other_tokens) if other.signal else math.nan
    relative = [one.signal_error / one.signal if one.signal else math.inf for one in (own, other)]
    return ratio, 1.96 * 2 * ratio * math.hypot(*relative)


def find(measures: Sequence[Measure], arm: str) -> Measure:
    """The measure of a credit."""
    return next(one for one in measures if one.arm == arm)
