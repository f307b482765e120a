"""From the logits of packed tokens to log-probs and entropies in rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from treepo.packing.layout import Layout
from treepo.packing.rows import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOut:
    """Which logits are wanted, which token each is asked for, and which cells of the rows get the answer.

    A row's cell t stands for its token t given the ones before it. A **label** is one packed token whose log-prob is
    wanted; the children of a fork are labels of the same logits.

    Attributes:
        positions: int64, shape (read,), the packed tokens whose logits are wanted, ascending: the model's
            ``logits_to_keep``.
        labels: int64, shape (labels,), token ids, ordered by the logits that predict them.
        sources: int64, shape (labels,), the entry of `positions` that predicts each label, ascending.
        first_labels: Shape (read + 1,), on the host: entry r of `positions` predicts labels first_labels[r] to
            first_labels[r + 1].
        cells: int64, shape (cells,), the row tokens that get an answer, counted over all rows, ascending.
        answers: int64, shape (cells,), the label that answers each cell.
    """

    positions: Tensor
    labels: Tensor
    sources: Tensor
    first_labels: tuple[int, ...]
    cells: Tensor
    answers: Tensor

    def to(self, device: torch.device | str) -> "ReadOut":
        """Moves the index tensors to the model's device."""
        return ReadOut(
            positions=self.positions.to(device),
            labels=self.labels.to(device),
            sources=self.sources.to(device),
            first_labels=self.first_labels,
            cells=self.cells.to(device),
            answers=self.answers.to(device),
        )


def read_out(layout: Layout, rows: Rows, *, wanted: Tensor | None = None) -> ReadOut:
    """Plans the way back from the packed tokens to the rows.

    Args:
        layout: The rows laid out.
        rows: The same rows.
        wanted: Bool, shape (row_tokens,), the row tokens whose log-probs are wanted; all response tokens by default.
            The first token of a row has no log-prob and is left out.
    """
    row_starts = rows.lengths.cumsum(0) - rows.lengths
    columns = torch.arange(len(rows.tokens)) - row_starts.repeat_interleave(rows.lengths)
    if wanted is None:
        wanted = columns >= rows.prompt_lengths.repeat_interleave(rows.lengths)
    cells = (wanted & (columns > 0)).nonzero().flatten()
    places = layout.places[cells]

    asked = torch.zeros(len(layout), dtype=torch.bool).index_fill(0, places, True).nonzero().flatten()
    parents = layout.parents[asked]
    by_parent = parents.argsort(stable=True)
    asked, parents = asked[by_parent], parents[by_parent]
    positions, sources, counts = parents.unique_consecutive(return_inverse=True, return_counts=True)
    label_of = torch.zeros(len(layout), dtype=torch.int64).index_copy(0, asked, torch.arange(len(asked)))
    return ReadOut(
        positions=positions,
        labels=layout.tokens[asked],
        sources=sources,
        first_labels=(0, *np.cumsum(counts.numpy()).tolist()),
        cells=cells,
        answers=label_of[places],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the model says about each label.

    Attributes:
        log_probs: Float32, shape (labels,), log-prob of the label.
        entropies: Float32, shape (labels,), entropy of the distribution that the label was drawn from, in nats.
    """

    log_probs: Tensor
    entropies: Tensor | None


def answer(
    logits: Tensor, plan: ReadOut, *, temperature: float = 1.0, entropy: bool = False, chunk_tokens: int = 1024
) -> Answers:
    """Log-probs of the labels, and entropies, with a backward pass that adds up what the rows ask of a shared token.

    Besides the logits and their gradient nothing of their size is held: the softmax is taken `chunk_tokens` positions
    at a time, in float32 at least, and again in the backward pass.

    Args:
        logits: Float, shape (read, vocabulary), those of ``plan.positions``.
        plan: The read-out, on the same device.
        temperature: The logits are divided by it.
        entropy: Whether entropies are wanted.
        chunk_tokens: Positions per softmax.

    Raises:
        ValueError: The logits are not those of the plan's positions.
    """
    if logits.dim() != 2 or len(logits) != len(plan.positions):
        raise ValueError(
            f"packing: expected logits of {len(plan.positions)} positions, got shape {tuple(logits.shape)}"
        )
    log_probs, entropies = _Answer.apply(logits, plan, 1.0 / temperature, entropy, chunk_tokens)
    return Answers(log_probs=log_probs, entropies=entropies.index_select(0, plan.sources) if entropy else None)


class _Answer(torch.autograd.Function):
    """The softmax by hand.

    With p the softmax of the scaled logits x, H its entropy and g the gradients that arrive,

    d x = sum over the labels y of g_y (onehot(y) - p)  -  g_H p (log p + H).
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, plan: ReadOut, scale: float, entropy: bool, chunk: int
    ) -> tuple[Tensor, Tensor]:
        exact = torch.promote_types(logits.dtype, torch.float32)
        normalisers = torch.empty(len(logits), dtype=exact, device=logits.device)
        entropies = torch.zeros_like(normalisers)
        log_probs = torch.empty(len(plan.labels), dtype=exact, device=logits.device)
        for start in range(0, len(logits), chunk):
            part = slice(start, start + chunk)
            scaled = logits[part].to(exact) * scale
            normalisers[part] = scaled.logsumexp(-1)
            own, sources = _labels_of(plan, part)
            log_probs[own] = scaled[sources, plan.labels[own]] - normalisers[part][sources]
            if entropy:
                expected = (scaled * (scaled - normalisers[part, None]).exp_()).sum(-1)
                entropies[part] = normalisers[part] - expected
        ctx.save_for_backward(logits, normalisers, entropies)
        ctx.plan, ctx.scale, ctx.entropy, ctx.chunk = plan, scale, entropy, chunk
        return log_probs, entropies

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, None, None, None, None]:
        grad_log_probs, grad_entropies = grad_outputs
        logits, normalisers, entropies = ctx.saved_tensors
        plan, scale = ctx.plan, ctx.scale
        totals = torch.zeros_like(normalisers).index_add_(0, plan.sources, grad_log_probs)
        grad = torch.empty_like(logits)
        for start in range(0, len(logits), ctx.chunk):
            part = slice(start, start + ctx.chunk)
            log_p = logits[part].to(normalisers.dtype).mul_(scale).sub_(normalisers[part, None])
            # Shape (chunk, 1) without entropy, (chunk, vocabulary) with it.
            weight = totals[part, None]
            if ctx.entropy:
                weight = (log_p + entropies[part, None]).mul_(grad_entropies[part, None]).add_(weight)
            change = log_p.exp_().mul_(weight).neg_()
            own, sources = _labels_of(plan, part)
            change[sources, plan.labels[own]] += grad_log_probs[own]
            grad[part] = change.mul_(scale)
        return grad, None, None, None, None


def _labels_of(plan: ReadOut, part: slice) -> tuple[slice, Tensor]:
    """The labels of some positions, and the position of each, counted from the first; no two share both."""
    first, stop = (plan.first_labels[min(at, len(plan.first_labels) - 1)] for at in (part.start, part.stop))
    return slice(first, stop), plan.sources[first:stop] - part.start


def to_rows(values: Tensor, plan: ReadOut, row_tokens: int) -> Tensor:
    """Writes every label's value to the cells that ask for it, through autograd.

    Args:
        values: Float, shape (labels,).
        plan: The read-out, on the same device.
        row_tokens: Tokens of all rows.

    Returns:
        Float, shape (row_tokens,): at a row's token t the value of that token; zero where none was wanted.
    """
    return values.new_zeros(row_tokens).index_copy(0, plan.cells, values.index_select(0, plan.answers))


def to_responses(values: Tensor, plan: ReadOut, rows: Rows, response_length: int) -> Tensor:
    """The same as a matrix of responses, filled up with zeros.

    Args:
        values: Float, shape (labels,).
        plan: The read-out, on the same device.
        rows: The rows.
        response_length: Columns of the matrix, at least the longest response.

    Returns:
        Float, shape (rows, response_length): column t is the response's token t.

    Raises:
        ValueError: A response is longer than `response_length`.
    """
    longest = int((rows.lengths - rows.prompt_lengths).max())
    if longest > response_length:
        raise ValueError(f"response_length must be at least {longest}, the longest response; got {response_length}")
    row_starts = rows.lengths.cumsum(0) - rows.lengths
    # Cell c of row r stands at r * response_length + (c - the row's start - its prompt).
    shift = torch.arange(len(rows)) * response_length - row_starts - rows.prompt_lengths
    flat = torch.arange(len(rows.tokens)) + shift.repeat_interleave(rows.lengths)
    columns = flat.to(values.device).index_select(0, plan.cells)
    in_response = values.new_zeros(len(rows) * response_length)
    return in_response.index_copy(0, columns, values.index_select(0, plan.answers)).view(len(rows), response_length)
