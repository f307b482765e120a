"""From one number per span of a response to one number per token, with whitening, in few passes over the tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from treepo.advantage.subgroups import TreeRow

WHITENING_EPSILON = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """Every response cut into consecutive spans (its nodes, or the whole path as one), then a tail without tokens.

    Attributes:
        lengths: Int64, shape (batch, spans), positions per span; 0 where a row has fewer spans.
        counts: Int64, shape (batch, spans), positions of the span that the response mask marks.
    """

    lengths: Tensor
    counts: Tensor


def node_spans(rows: Sequence[TreeRow], response_mask: Tensor, *, per_node: bool) -> Spans:
    """Finds the tokens of every node.

    Args:
        rows: One entry per row of the batch.
        response_mask: 0 or 1, shape (batch, response_length).
        per_node: One span per node; otherwise the whole path is one span.

    Returns:
        The spans, on the CPU. What a path holds beyond `response_length` is cut off.

    Raises:
        ValueError: A row has a number of lengths other than its nodes, a negative length, or a token beyond its path.
    """
    batch, response_length = response_mask.shape
    depths = torch.tensor([len(row.node_lengths) for row in rows], dtype=torch.int64)
    uneven = [index for index, row in enumerate(rows) if len(row.node_ids) != len(row.node_lengths)]
    if uneven:
        raise ValueError(f"row {uneven[0]}: node_ids and node_lengths differ in length")
    flat = torch.tensor(list(chain.from_iterable(row.node_lengths for row in rows)), dtype=torch.int64)
    if (flat < 0).any():
        raise ValueError("node_lengths holds a negative number of tokens")

    lengths = torch.zeros(batch, int(depths.max()), dtype=torch.int64)
    lengths[torch.arange(lengths.shape[1]) < depths[:, None]] = flat
    ends = lengths.cumsum(1).clamp(max=response_length)
    lengths = ends.diff(dim=1, prepend=torch.zeros(batch, 1, dtype=torch.int64))
    if not per_node:
        lengths = lengths.sum(1, keepdim=True)
    tail = response_length - lengths.sum(1, keepdim=True)
    counts = _count_marked(response_mask, torch.cat([lengths, tail], dim=1))
    beyond = counts[:, -1].nonzero().flatten()
    if len(beyond):
        raise ValueError(f"row {int(beyond[0])}: the response mask marks tokens beyond the nodes of its path")
    return Spans(lengths=lengths, counts=counts[:, :-1])


def _count_marked(response_mask: Tensor, lengths: Tensor) -> Tensor:
    """Marked positions in each of the spans that partition the rows, in one pass over the mask."""
    marks = response_mask if response_mask.dtype == torch.int64 else response_mask.bool().view(torch.uint8)
    sizes = lengths.flatten()
    starts = sizes.cumsum(0) - sizes
    filled = sizes > 0  # an empty span has no place in reduceat, which would count its neighbour
    sums = np.add.reduceat(marks.cpu().contiguous().numpy().ravel(), starts[filled].numpy(), dtype=np.int64)
    counts = torch.zeros_like(sizes)
    counts[filled] = torch.from_numpy(sums)
    return counts.view_as(lengths)


def whiten(values: Tensor, counts: Tensor) -> Tensor:
    """Whitens values that each stand for several tokens: (value - mean) / sqrt(variance + 1e-8) over all tokens.

    The mean weighs every value by its tokens; the variance carries the correction m/(m-1), m being all tokens together.
    With one token, or all values equal, the result is 0.

    Args:
        values: Float, any shape.
        counts: Tokens behind each value, same shape; 0 leaves a value out of the statistics. At least one is positive.

    Returns:
        Same shape as `values`.
    """
    tokens = int(counts.sum())
    mean = (values * counts).sum() / tokens
    centred = values - mean
    variance = (centred.square() * counts).sum() / max(tokens - 1, 1)
    return centred / (variance + WHITENING_EPSILON).sqrt()


def spread(values: Tensor, spans: Spans, response_mask: Tensor) -> Tensor:
    """Writes each span's value to its marked tokens.

    Args:
        values: Float, shape (batch, spans).
        spans: The spans of every row.
        response_mask: 0 or 1, shape (batch, response_length).

    Returns:
        Float32, shape (batch, response_length), on the mask's device; zero where the mask is zero.
    """
    batch, response_length = response_mask.shape
    zero = values.new_zeros(batch, 1)
    numbers = torch.cat([values.masked_fill(spans.counts == 0, 0.0), zero], dim=1).float()
    repeats = torch.cat([spans.lengths, response_length - spans.lengths.sum(1, keepdim=True)], dim=1)
    # numpy's repeat writes the tensor once; torch's would first build an index of the same shape in int64.
    flat = np.repeat(numbers.numpy().ravel(), repeats.numpy().ravel())
    advantages = torch.from_numpy(flat).view(batch, response_length).to(response_mask.device)
    holed = ((spans.counts > 0) & (spans.counts < spans.lengths)).any(dim=1).nonzero().flatten()
    if len(holed):
        holed = holed.to(response_mask.device)
        advantages[holed] *= response_mask[holed].bool()
    return advantages
