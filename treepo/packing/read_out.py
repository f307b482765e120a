"""From the hidden states of packed tokens to log-probs and entropies in rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from treepo.packing.layout import Layout
from treepo.packing.rows import Rows

CHUNK_LOGITS = 2**27
"""Logits held at a time: 0.5 GiB in float32, 882 positions of a vocabulary of 152,064."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOut:
    """Which logits are wanted, which token each is asked for, and which cells of the rows get the score.

    A row's cell t stands for its token t given the ones before it. A **label** is one packed token whose log-prob is
    wanted; the children of a fork are labels of the same logits.

    Attributes:
        positions: int64, shape (read,), the packed tokens whose logits are wanted, ascending: the model's
            ``logits_to_keep``.
        labels: int64, shape (labels,), token ids, ordered by the logits that predict them.
        sources: int64, shape (labels,), the entry of `positions` that predicts each label, ascending.
        first_labels: Shape (read + 1,), on the host: entry r of `positions` predicts labels first_labels[r] to
            first_labels[r + 1].
        cells: int64, shape (cells,), the row tokens that get a score, counted over all rows, ascending.
        cell_labels: int64, shape (cells,), the label whose score each cell gets.
    """

    positions: Tensor
    labels: Tensor
    sources: Tensor
    first_labels: tuple[int, ...]
    cells: Tensor
    cell_labels: Tensor

    def to(self, device: torch.device | str) -> "ReadOut":
        """Moves the index tensors to the model's device."""
        return ReadOut(
            positions=self.positions.to(device),
            labels=self.labels.to(device),
            sources=self.sources.to(device),
            first_labels=self.first_labels,
            cells=self.cells.to(device),
            cell_labels=self.cell_labels.to(device),
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
        cell_labels=label_of[places],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScores:
    """What the model says about each label.

    Attributes:
        log_probs: Float32, shape (labels,), log-prob of the label.
        entropies: Float32, shape (labels,), entropy of the distribution that the label was drawn from, in nats; None
            where it was not asked for.
    """

    log_probs: Tensor
    entropies: Tensor | None


def score_labels(
    hidden: Tensor,
    weight: Tensor,
    readout: ReadOut,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    chunk_tokens: int | None = None,
) -> LabelScores:
    """Log-probs of the labels, and entropies, from the last hidden states; the logits of all tokens are never held.

    The logits are computed `chunk_tokens` positions at a time, and again in the backward pass, which adds up what the
    rows ask of a shared token. The softmax is taken in float32 at least. A vocabulary of 152,064 and 16,384 positions
    would make 4.6 GiB of logits in bfloat16, and as much for their gradient.

    Args:
        hidden: Float, shape (read, hidden size), the model's last hidden states at ``readout.positions``.
        weight: Float, shape (vocabulary, hidden size), the output head's.
        readout: The read-out, on the same device.
        temperature: The logits are divided by it.
        entropy: Whether entropies are wanted.
        chunk_tokens: Positions whose logits are held at a time; by default as many as make `CHUNK_LOGITS` logits.

    Raises:
        ValueError: The hidden states are not those of the read-out's positions.
    """
    if hidden.dim() != 2 or len(hidden) != len(readout.positions):
        raise ValueError(
            f"packing: expected hidden states of {len(readout.positions)} positions, got shape {tuple(hidden.shape)}"
        )
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        target = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(target), weight.to(target)
    chunk = chunk_tokens or max(1, CHUNK_LOGITS // len(weight))
    log_probs, entropies = _ScoreLabels.apply(hidden, weight, readout, 1.0 / temperature, entropy, chunk)
    return LabelScores(log_probs=log_probs, entropies=entropies.index_select(0, readout.sources) if entropy else None)


@contextmanager
def scores_for_logits(
    head: nn.Module, readout: ReadOut, *, temperature: float = 1.0, entropy: bool = False
) -> Iterator[None]:
    """Within it a model's output head gives scores of the labels where it would give logits.

    So the model's forward returns as ``logits`` float32, shape (labels,), or (2, labels) with entropies behind the
    log-probs. The head computes them inside the model's forward, where FSDP has its weight at hand.

    Args:
        head: The model's output head, a linear layer without bias.
        readout: The read-out, on the model's device; its positions are the forward's ``logits_to_keep``.
        temperature: As in `score_labels`.
        entropy: Whether entropies are wanted.

    Raises:
        ValueError: The head is something else, such as a linear layer with an adapter.
    """
    if reason := head_obstacle(head):
        raise ValueError(f"treepo.packing does not support {reason}; train row by row")
    weight_of: Any = head

    def forward(hidden: Tensor) -> Tensor:
        scores = score_labels(
            hidden.flatten(0, -2), weight_of.weight, readout, temperature=temperature, entropy=entropy
        )
        return scores.log_probs if scores.entropies is None else torch.stack([scores.log_probs, scores.entropies])

    assert "forward" not in vars(head), "one forward of a head at a time"
    head.forward = forward
    try:
        yield
    finally:
        del head.forward


def head_obstacle(head: nn.Module) -> str | None:
    """What about a model's output head the read-out would not compute exactly; None if nothing."""
    if not isinstance(head, nn.Linear):
        return f"an output head of type {type(head).__name__} (an adapter on lm_head?)"
    return "an output head with a bias" if head.bias is not None else None


class _ScoreLabels(torch.autograd.Function):
    """The head and the softmax by hand.

    With p the softmax of the scaled logits x, H its entropy and g the gradients that arrive,

    d x = sum over the labels y of g_y (onehot(y) - p)  -  g_H p (log p + H).
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, readout: ReadOut, scale: float, entropy: bool, chunk: int
    ) -> tuple[Tensor, Tensor]:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        entropies = torch.zeros(len(hidden), dtype=exact, device=hidden.device)
        log_probs = torch.empty(len(readout.labels), dtype=exact, device=hidden.device)
        logits = None
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            logits = _logits(hidden[part], weight)
            log_p = _log_softmax(logits, scale, exact)
            own, sources = _labels_of(readout, part)
            log_probs[own] = log_p[sources, readout.labels[own]]
            if entropy:
                entropies[part] = -(log_p.exp() * log_p).sum(-1)
        # One chunk alone is kept: it is within the bound, and a small vocabulary would gain nothing by the second pass.
        ctx.save_for_backward(hidden, weight, entropies, logits if len(hidden) <= chunk else None)
        ctx.readout, ctx.scale, ctx.entropy, ctx.chunk = readout, scale, entropy, chunk
        return log_probs, entropies

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, Tensor | None, None, None, None, None]:
        grad_log_probs, grad_entropies = (grad * ctx.scale for grad in grad_outputs)
        hidden, weight, entropies, kept = ctx.saved_tensors
        readout = ctx.readout
        totals = torch.zeros_like(entropies).index_add_(0, readout.sources, grad_log_probs)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=entropies.dtype) if ctx.needs_input_grad[1] else None
        for start in range(0, len(hidden), ctx.chunk):
            part = slice(start, start + ctx.chunk)
            logits = _logits(hidden[part], weight) if kept is None else kept
            log_p = _log_softmax(logits, ctx.scale, entropies.dtype)
            # Shape (chunk, 1) without entropy, (chunk, vocabulary) with it.
            share = -totals[part, None]
            if ctx.entropy:
                share = (log_p + entropies[part, None]).mul_(-grad_entropies[part, None]).add_(share)
            change = log_p.exp_().mul_(share)
            own, sources = _labels_of(readout, part)
            change[sources, readout.labels[own]] += grad_log_probs[own]
            grad_logits = change.to(hidden.dtype)
            grad_hidden[part] = grad_logits @ weight
            if grad_weight is not None:
                _add_product(grad_weight, grad_logits, hidden[part])
        return grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype), None, None, None, None


def _log_softmax(logits: Tensor, scale: float, exact: torch.dtype) -> Tensor:
    if scale != 1.0:
        logits = logits.to(exact) * scale
    return torch.log_softmax(logits, -1, dtype=exact)


def _logits(hidden: Tensor, weight: Tensor) -> Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        return hidden @ weight.T


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Adds the transposed left matrix times the right one, in the precision of the total."""
    if left.dtype == total.dtype:
        total.addmm_(left.T, right)
    elif left.device.type == "cuda":
        torch.addmm(total, left.T, right, out_dtype=total.dtype, out=total)
    else:
        total += left.T @ right


def _labels_of(readout: ReadOut, part: slice) -> tuple[slice, Tensor]:
    """The labels of some positions, and the position of each, counted from the first; no two share both."""
    first, stop = (readout.first_labels[min(at, len(readout.first_labels) - 1)] for at in (part.start, part.stop))
    return slice(first, stop), readout.sources[first:stop] - part.start


def to_rows(values: Tensor, readout: ReadOut, row_tokens: int) -> Tensor:
    """Writes every label's value to the cells that ask for it, through autograd.

    Args:
        values: Float, shape (labels,).
        readout: The read-out, on the same device.
        row_tokens: Tokens of all rows.

    Returns:
        Float, shape (row_tokens,): at a row's token t the value of that token; zero where none was wanted.
    """
    return values.new_zeros(row_tokens).index_copy(0, readout.cells, values.index_select(0, readout.cell_labels))


def to_responses(values: Tensor, readout: ReadOut, rows: Rows, response_length: int) -> Tensor:
    """The same as a matrix of responses, filled up with zeros.

    Args:
        values: Float, shape (labels,).
        readout: The read-out, on the same device.
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
    columns = flat.to(values.device).index_select(0, readout.cells)
    in_response = values.new_zeros(len(rows) * response_length)
    return in_response.index_copy(0, columns, values.index_select(0, readout.cell_labels)).view(
        len(rows), response_length
    )
