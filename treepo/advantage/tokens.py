"""From one number per span of a response to one number per token, with whitening.

The tokens are passed over twice, to count the marked ones and to write the result; both in numpy, whose `reduceat` and
`repeat` need no index of the output's shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from treepo.advantage.forest import TreeRow, pad_ragged

WHITENING_EPSILON = 1e-8


class SpanKind(Enum):
    """What an estimator gives one number to.

    * `PATH`: a whole path.
    * `NODE`: every node of a path.
    * `FIRST_TOKEN`: the first token of every node, and the rest of the node.
    """

    PATH = "path"
    NODE = "node"
    FIRST_TOKEN = "first_token"

    @property
    def per_node(self) -> int:
        """Spans of a node, where a span is no longer than that."""
        return 2 if self is SpanKind.FIRST_TOKEN else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """Every response cut into consecutive spans, then a tail without tokens.

    Attributes:
        lengths: Int64, shape (batch, spans), positions per span; 0 where a row has fewer spans.
        counts: Int64, shape (batch, spans), positions of the span that the response mask marks.
    """

    lengths: np.ndarray
    counts: np.ndarray


def row_spans(rows: Sequence[TreeRow], response_mask: Tensor, *, kind: SpanKind) -> Spans:
    """Finds the tokens of every span.

    Args:
        rows: One entry per row of the batch.
        response_mask: 0 or 1, shape (batch, response_length).
        kind: What a span is.

    Returns:
        The spans. What a path holds beyond `response_length` is cut off.

    Raises:
        ValueError: The mask marks a token beyond the path of its row.
    """
    response_length = response_mask.shape[1]
    if kind is SpanKind.PATH:
        own = np.fromiter((sum(row.node_lengths) for row in rows), dtype=np.int64, count=len(rows))[:, None]
    else:
        own = pad_ragged([row.node_lengths for row in rows])
    if kind is SpanKind.FIRST_TOKEN:
        first = np.minimum(own, 1)
        own = np.stack([first, own - first], axis=2).reshape(len(rows), -1)
    lengths = np.diff(np.minimum(own.cumsum(axis=1), response_length), axis=1, prepend=0)
    tail = response_length - lengths.sum(axis=1, keepdims=True)
    counts = _count_marked(response_mask, np.concatenate([lengths, tail], axis=1))
    beyond = np.flatnonzero(counts[:, -1])
    if len(beyond):
        raise ValueError(f"row {beyond[0]}: the response mask marks tokens beyond the nodes of its path")
    return Spans(lengths=lengths, counts=counts[:, :-1])


def _count_marked(response_mask: Tensor, lengths: np.ndarray) -> np.ndarray:
    """Marked positions in each of the spans that partition the rows, in one pass over the mask."""
    marks = response_mask if response_mask.dtype == torch.int64 else response_mask.bool().view(torch.uint8)
    starts = (lengths.cumsum() - lengths.ravel()).reshape(lengths.shape)
    filled = lengths > 0  # an empty span has no place in reduceat, which would count its neighbour
    counts = np.zeros_like(lengths)
    counts[filled] = np.add.reduceat(marks.cpu().contiguous().numpy().ravel(), starts[filled], dtype=np.int64)
    return counts


def whiten(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Whitens values that each stand for several tokens: (value - mean) / sqrt(variance + 1e-8) over all tokens.

    The mean weighs every value by its tokens; the variance carries the correction m/(m-1), m being all tokens together.
    With one token, or all values equal, the result is 0.

    Args:
        values: Float, any shape.
        counts: Tokens behind each value, same shape; 0 leaves a value out of the statistics. At least one is positive.

    Returns:
        Same shape as `values`.
    """
    tokens = counts.sum()
    mean = (values * counts).sum() / tokens
    centred = values - mean
    variance = (np.square(centred) * counts).sum() / max(tokens - 1, 1)
    return centred / np.sqrt(variance + WHITENING_EPSILON)


def spread(values: np.ndarray, spans: Spans, response_mask: Tensor) -> Tensor:
    """Writes each span's value to its marked tokens.

    Args:
        values: Float, shape (batch, spans).
        spans: The spans of every row.
        response_mask: 0 or 1, shape (batch, response_length).

    Returns:
        Float32, shape (batch, response_length), on the mask's device; zero where the mask is zero.
    """
    batch, response_length = response_mask.shape
    numbers = np.zeros((batch, values.shape[1] + 1), dtype=np.float32)
    numbers[:, :-1] = np.where(spans.counts > 0, values, 0.0)
    tail = response_length - spans.lengths.sum(axis=1, keepdims=True)
    flat = np.repeat(numbers.ravel(), np.concatenate([spans.lengths, tail], axis=1).ravel())
    advantages = torch.from_numpy(flat).view(batch, response_length).to(response_mask.device)
    holed = np.flatnonzero(((spans.counts > 0) & (spans.counts < spans.lengths)).any(axis=1))
    if len(holed):
        rows = torch.from_numpy(holed).to(response_mask.device)
        advantages[rows] *= response_mask[rows].bool()
    return advantages
