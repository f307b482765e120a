"""What every estimator starts from, and how its numbers reach the tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from treepo.advantage.forest import Forest, TreeRow, build_forest, by_trajectory
from treepo.advantage.tokens import SpanKind, Spans, row_spans, spread, whiten
from treepo.config.policies import SharedTokens

__all__ = ["Batch", "SpanKind", "prepare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The trajectories of a batch.

    Attributes:
        forest: Their trees.
        spans: The tokens that get one number each, by row.
        kind: What a span is.
        rewards: Float64, shape (trajectories,).
        response_mask: 0 or 1, shape (batch, response_length).
    """

    forest: Forest
    spans: Spans
    kind: SpanKind
    rewards: Tensor
    response_mask: Tensor

    def write(self, values: Tensor, *, whitened: bool, shared_tokens: SharedTokens) -> Tensor:
        """Hands values to the tokens of the rows.

        Args:
            values: Float64, shape (trajectories, spans), or (trajectories, 1) for one number per trajectory.
            whitened: Whether they are whitened over all tokens first.
            shared_tokens: What tokens in several trajectories are divided by; not with one span per path.

        Returns:
            Float32, shape (batch, response_length).
        """
        spans = self.spans.lengths.shape[1]
        numbers = values.numpy()
        if values.shape[1] == 1 and spans > 1:
            numbers = np.repeat(numbers, spans, axis=1)
        if whitened:
            numbers = whiten(numbers, self.spans.counts[self.forest.first_rows.numpy(), : numbers.shape[1]])
        if shared_tokens is not SharedTokens.PER_ROW:
            weights = self._shared_weights(shared_tokens)
            numbers = numbers[:, : weights.shape[1]] * weights
        by_row = np.zeros(self.spans.lengths.shape)
        holders = self.forest.row_trajectories.numpy()
        by_row[holders >= 0, : numbers.shape[1]] = numbers[holders[holders >= 0]]
        return spread(by_row, self.spans, self.response_mask)

    def _shared_weights(self, shared_tokens: SharedTokens) -> np.ndarray:
        """One over the number of trajectories through every node, or its square root, by trajectory and span."""
        power = -0.5 if shared_tokens is SharedTokens.SQRT else -1.0
        weights = by_trajectory(self.forest, [level.sizes.double() ** power for level in self.forest.levels[1:]])
        return np.repeat(weights.numpy(), self.kind.per_node, axis=1)


def prepare(rewards: Tensor, response_mask: Tensor, rows: Sequence[TreeRow], *, spans: SpanKind) -> Batch | None:
    """Checks the input of an estimator and builds the trees.

    Returns:
        The batch; None where no row has a token.

    Raises:
        ValueError: See :class:`treepo.advantage.Estimator`.
    """
    if response_mask.ndim != 2 or len(rows) != len(response_mask):
        raise ValueError(
            f"response_mask has shape {tuple(response_mask.shape)}, expected (batch, response_length) with "
            f"batch = {len(rows)}, the number of rows"
        )
    if rewards.shape not in (response_mask.shape, response_mask.shape[:1]):
        raise ValueError(
            f"rewards has shape {tuple(rewards.shape)}, expected {tuple(response_mask.shape)} or ({len(rows)},)"
        )
    if response_mask.numel() == 0:
        return None
    found = row_spans(rows, response_mask, kind=spans)
    live = torch.from_numpy(found.counts.any(axis=1))
    if not live.any():
        return None
    forest = build_forest(rows, live)
    scalars = (rewards.sum(1) if rewards.ndim == 2 else rewards).detach().cpu().double()
    broken = (live & ~scalars.isfinite()).nonzero()
    if len(broken):
        raise ValueError(f"row {int(broken[0])}: the reward is not finite")
    own = scalars.gather(0, forest.first_rows)
    return Batch(forest=forest, spans=found, kind=spans, rewards=own, response_mask=response_mask)
