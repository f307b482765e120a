"""Which packed tokens predict the tokens of the rows, and the way of their scores back to rows."""

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from treepo.packing.layout import Layout
from treepo.packing.rows import Rows
from treepo.packing.token_shares import Sharing


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Which logits are wanted, and which tokens each is asked for.

    A **label** is one packed token whose log-prob is wanted; the children of a fork are labels of the same logits.

    Attributes:
        positions: int64, shape (read,), where the wanted logits stand in the model's sequence, ascending: its
            ``logits_to_keep``.
        labels: int64, shape (labels,), token ids, ordered by the logits that predict them.
        sources: int64, shape (labels,), the entry of `positions` that predicts each label, ascending.
        first_labels: Shape (read + 1,), on the host: entry r of `positions` predicts labels first_labels[r] to
            first_labels[r + 1].
    """

    positions: Tensor
    labels: Tensor
    sources: Tensor
    first_labels: tuple[int, ...]

    def to(self, device: torch.device | str) -> Self:
        """Moves the index tensors to the model's device."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return replace(self, **{name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOut(Labels):
    """The labels of some rows, and which cells of the rows get their scores.

    A row's cell t stands for its token t given the ones before it.

    Attributes:
        cells: int64, shape (cells,), the row tokens that get a score, counted over all rows, ascending.
        cell_labels: int64, shape (cells,), the label whose score each cell gets.
    """

    cells: Tensor
    cell_labels: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelShares:
    """The labels of a read-out on the ranks that share the packed tokens: each is scored where its parent stands.

    Attributes:
        parts: Per rank its labels, with positions among its own queries.
        slots: int64, shape (labels,), where each label of the read-out stands once the ranks' scores are put one behind
            the other, each filled up to `size`.
        size: Labels of the rank that has most, at least 1.
    """

    parts: tuple[Labels, ...]
    slots: Tensor
    size: int


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


def share_labels(readout: ReadOut, sharing: Sharing) -> LabelShares:
    """Splits a read-out by the rank that holds the token whose logits predict each label.

    Args:
        readout: The read-out of the whole packed sequence, on the CPU.
        sharing: Who holds which packed token.
    """
    size = len(sharing.shares[0])
    slots = sharing.slots[readout.positions]
    owners = slots // size
    counts = torch.tensor(readout.first_labels).diff()
    label_owners = owners[readout.sources]
    label_slots = torch.empty_like(readout.labels)
    most = max(1, *label_owners.bincount(minlength=len(sharing.shares)).tolist())
    parts = []
    for rank in range(len(sharing.shares)):
        chosen = owners == rank
        own = (label_owners == rank).nonzero().flatten()
        label_slots[own] = torch.arange(len(own)) + rank * most
        parts.append(
            Labels(
                positions=slots[chosen] - rank * size,
                labels=readout.labels[own],
                sources=(chosen.cumsum(0) - 1)[readout.sources[own]],
                first_labels=(0, *counts[chosen].cumsum(0).tolist()),
            )
        )
    return LabelShares(parts=tuple(parts), slots=label_slots, size=most)


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
