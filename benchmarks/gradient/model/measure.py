"""From the samples of a shape to what every credit makes of them, with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.gradient.arms import ARMS, WEIGHTED
from benchmarks.gradient.measure import REFERENCE_ARM, signal, signal_error, squared_ratio
from benchmarks.gradient.model.learned import LEARNED, Valued, cross_fitted
from benchmarks.gradient.model.reference import PARTS, Reference, part_of
from benchmarks.gradient.model.samples import Samples

MODEL_ARMS = (*(arm for arm in ARMS if not arm.limit), *WEIGHTED, *LEARNED)
"""All credits but those that need values which no training knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMeasure:
    """What one credit makes of one shape; squared signals are squared means over mean squares, over prompts.

    Attributes:
        arm: The credit.
        along: Mean over standard deviation along the true gradient: its own noise alone.
        along_error: Its standard error.
        along_over_grpo: Its square over that of GRPO's credit on the same trees, and the standard error.
        step: Cosine of a step's gradient with the true one, and its standard error.
        over_grpo: Squared signal against all noise over that of GRPO's credit on the same trees, and its error.
        per_token: Squared signal per token generated over that of GRPO on independent samples, and its error.
        per_second: The same per second.
        by_part: Signal along the true gradient of the tokens of each part of the responses.
        shares: How much of the true gradient's part the credit's has, over the same of all parts.
        alignment: Cosine with the true gradient of its parts put together with these shares; None where noise hides it.
    """

    arm: str
    along: float
    along_error: float
    along_over_grpo: tuple[float, float]
    step: tuple[float, float]
    over_grpo: tuple[float, float]
    per_token: tuple[float, float]
    per_second: tuple[float, float]
    by_part: list[float]
    shares: list[float]
    alignment: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCell:
    """All credits on the same trees of one shape.

    Attributes:
        policy: Names the policy.
        shape: Names the shape.
        prompts: How many.
        batch: Prompts of a step.
        seed: Of the samples.
        trajectories: Per prompt.
        accuracy: Share of rewards above zero.
        generated: Tokens generated per prompt.
        packed: Distinct tokens per prompt, its own with them.
        seconds: CPU seconds per token generated, per packed token of the log-probs, and of the update.
        explained: Share of the rewards' variation that the learned values explain.
        measures: One per credit.
    """

    policy: str
    shape: str
    prompts: int
    batch: int
    seed: int
    trajectories: float
    accuracy: float
    generated: float
    packed: float
    seconds: tuple[float, float, float]
    explained: float
    measures: list[ModelMeasure]


@dataclass(frozen=True, slots=True, kw_only=True)
class PerPrompt:
    """What the credits make of every prompt.

    Attributes:
        along: By credit, shape (prompts, PARTS): the gradient's product with the true one's direction, by part.
        squares: By credit, shape (prompts,): its squared length, from the prompt's random directions.
        generated: Shape (prompts,).
        packed: Shape (prompts,).
        rates: CPU seconds per token generated, per packed token of the log-probs, and of the update.
        explained: See :class:`ModelCell`.
    """

    along: dict[str, np.ndarray]
    squares: dict[str, np.ndarray]
    generated: np.ndarray
    packed: np.ndarray
    rates: tuple[float, float, float]
    explained: float

    def seconds(self, rates: tuple[float, float, float]) -> np.ndarray:
        """Seconds of every prompt at given rates."""
        return self.generated * rates[0] + self.packed * (rates[1] + rates[2])


def per_prompt(samples: Samples, *, batch: int, segment_length: int) -> PerPrompt:
    """Gives every credit the same samples, a batch of prompts at a time.

    Args:
        samples: The samples of one shape.
        batch: Prompts of a batch: what whitening, other prompts' means and `shrink=auto` look at.
        segment_length: Of the parts of a response.
    """
    values, explained = cross_fitted(samples)
    numbers, index = np.unique(samples.prompts, return_inverse=True)
    parts = np.array([part_of(place, segment_length) for place in range(samples.mask.shape[1])])
    sizes = np.bincount(index)
    along = {arm.name: np.zeros((len(numbers), PARTS)) for arm in MODEL_ARMS}
    squares = {arm.name: np.zeros(len(numbers)) for arm in MODEL_ARMS}
    for first in range(0, len(numbers), batch):
        (own,) = ((index >= first) & (index < first + batch)).nonzero()
        given = Valued(
            rows=[samples.rows[row] for row in own],
            prompts=samples.prompts[own],
            mask=samples.mask[own],
            rewards=samples.rewards[own],
            before=[values[row] for row in own],
        )
        shares = 1.0 / sizes[index[own]]
        for arm in MODEL_ARMS:
            weighed = arm.credit(given) * shares[:, None] * samples.scores[:, own]
            for part in range(PARTS):
                np.add.at(along[arm.name][:, part], index[own], weighed[0][:, parts == part].sum(axis=1))
            products = np.zeros((len(numbers), len(weighed) - 1))
            np.add.at(products, index[own], weighed[1:].sum(axis=2).T)
            squares[arm.name] += (products**2).mean(axis=1)
    generated = int(samples.generated.sum())
    return PerPrompt(
        along=along,
        squares=squares,
        generated=samples.generated.astype(float),
        packed=samples.packed.astype(float),
        rates=(samples.decode_seconds / generated, samples.score_seconds, samples.update_seconds),
        explained=explained,
    )


def measure_cell(
    samples: Samples,
    own: PerPrompt,
    base: PerPrompt,
    *,
    policy: str,
    shape: str,
    batch: int,
    known: Reference,
    seed: int,
) -> ModelCell:
    """Measures every credit on the samples of one shape.

    Args:
        samples: The samples.
        own: What the credits make of them.
        base: What they make of independent samples of the same prompts.
        policy: Names the policy.
        shape: Names the shape.
        batch: Prompts of a step.
        known: What is known of the true gradient.
        seed: Of the samples.
    """
    grpo = REFERENCE_ARM
    prompts = len(own.generated)
    ones = np.ones(prompts)
    # The same rates for all shapes: those of one hour, measured on independent samples.
    costs = (own.seconds(base.rates), base.seconds(base.rates))
    measures = []
    for arm in MODEL_ARMS:
        parts, squares = own.along[arm.name], own.squares[arm.name]
        along, value = parts.sum(axis=1), signal(parts.sum(axis=1))
        other = own.along[grpo].sum(axis=1), own.squares[grpo]
        independent = base.along[grpo].sum(axis=1), base.squares[grpo]
        shares = part_shares(parts, known)
        measures.append(
            ModelMeasure(
                arm=arm.name,
                along=value,
                along_error=signal_error(value, prompts),
                along_over_grpo=squared_ratio(along, other[0]),
                step=step_cosine(along, squares, batch),
                over_grpo=worth((along, squares), ones, other, ones),
                per_token=worth((along, squares), own.generated, independent, base.generated),
                per_second=worth((along, squares), costs[0], independent, costs[1]),
                by_part=[signal(parts[:, part]) for part in range(PARTS)],
                shares=shares,
                alignment=alignment(shares, known),
            )
        )
    return ModelCell(
        policy=policy,
        shape=shape,
        prompts=prompts,
        batch=batch,
        seed=seed,
        trajectories=len(samples.rows) / prompts,
        accuracy=float((samples.rewards > 0).mean()),
        generated=float(own.generated.mean()),
        packed=float(own.packed.mean()),
        seconds=base.rates,
        explained=own.explained,
        measures=measures,
    )


def worth(
    own: tuple[np.ndarray, np.ndarray], cost: np.ndarray, other: tuple[np.ndarray, np.ndarray], other_cost: np.ndarray
) -> tuple[float, float]:
    """Squared signal per cost over another's on the same prompts, and its standard error (the delta method).

    The squared signal is the squared mean along the true gradient over the mean squared length, negative where the mean
    is. All shapes (prompts,).
    """
    (value, moves), (base, base_moves) = (_squared(*one, spent) for one, spent in ((own, cost), (other, other_cost)))
    if base == 0:
        return math.nan, math.nan
    ratio = value / base
    return ratio, float((moves / base - ratio * base_moves / base).std(ddof=1)) / math.sqrt(len(cost))


def _squared(along: np.ndarray, squares: np.ndarray, cost: np.ndarray) -> tuple[float, np.ndarray]:
    """Squared signal per cost, and what every prompt adds to it, to first order."""
    mean, square, spent = along.mean(), squares.mean(), cost.mean()
    if square == 0:
        return 0.0, np.zeros(len(along))
    value = mean * abs(mean) / square / spent
    moves = (
        2 * abs(mean) / square / spent * (along - mean) - value * (squares / square - 1) - value * (cost / spent - 1)
    )
    return float(value), moves


def step_cosine(along: np.ndarray, squares: np.ndarray, batch: int) -> tuple[float, float]:
    """Cosine of the gradient of a batch with the true one, root mean square, and its standard error.

    The batch's squared length is that of its noise, and of the mean gradient as far as it lies along the true one.
    """
    mean, square = float(along.mean()), float(squares.mean())
    length = square / batch + (1 - 1 / batch) * mean**2
    if length <= 0:
        return 0.0, 0.0
    moves = (along - mean) * (square / batch) / length**1.5 - mean * (squares - square) / batch / (2 * length**1.5)
    return mean / math.sqrt(length), float(moves.std(ddof=1)) / math.sqrt(len(along))


def part_shares(parts: np.ndarray, known: Reference) -> list[float]:
    """How much of each part of the true gradient there is, over how much there is of all of it.

    Args:
        parts: Shape (prompts, PARTS), along the true gradient's direction.
        known: What is known of the true gradient.
    """
    true = np.array(known.parts).sum(axis=1)
    found = parts.mean(axis=0)
    whole = found.sum() / true.sum() if true.sum() else 0.0
    return [float(own / part / whole) if part and whole else 0.0 for own, part in zip(found, true, strict=True)]


def alignment(shares: Sequence[float], known: Reference) -> float | None:
    """Cosine with the true gradient of the sum of its parts, each times a number."""
    products, weights = np.array(known.parts), np.array(shares)
    length, true = float(weights @ products @ weights), float(products.sum())
    return None if length <= 0 or true <= 0 else float((products @ weights).sum()) / math.sqrt(length * true)
