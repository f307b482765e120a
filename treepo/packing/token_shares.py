"""One packed sequence on several ranks: which rank computes which tokens, and what their queries attend to.

A long tree is too large for one rank. Its tokens are shared out: as many to every rank, so that layers and activations
are divided, and about as many pairs of attention, so that no rank waits for another. A chain is cut into blocks for
that, because a token far down attends to much more than one at the root.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from treepo.packing.layout import Layout

MIN_BLOCK = 128
"""Tokens of a block unless a chain is shorter: as many queries as flash attention computes at a time."""

BLOCKS_PER_RANK = 32
"""Blocks that a rank gets of a long sequence: more would balance better, and gather the keys of a path more often."""


class Span(NamedTuple):
    """Queries that each attend to all of some keys or, if it is causal, to those up to their own.

    Attributes:
        first: The first query, counted among the share's.
        last: One past the last query.
        start: The first key, a packed token.
        stop: One past the last key.
        causal: Whether queries and keys are the same tokens, and a query attends to those before it and itself.
    """

    first: int
    last: int
    start: int
    stop: int
    causal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenShare:
    """The packed tokens that one rank computes: queries are its own, keys are those of all ranks.

    The example of `Layout` on two ranks; c, d and e, f attend to::

        token         a b c d e f         rank 0: d e f, 9 pairs         rank 1: a b c, 6 pairs
        place         0 1 2 3 4 5
        positions     0 1 2 2 3 1         places  3 4 5                  places  0 1 2
                                          runs    (0, 2), (2, 3)         runs    (0, 3)
                                          paths   0 1 3 4, 0 5           paths   0 1 2

    Attributes:
        places: int64, shape (queries,), the packed tokens of the queries, ascending. If the ranks cannot get equally
            many, the last is a copy of the first packed token: it is computed and its result is read by nobody.
        own: Queries that are no copy.
        runs: Start and stop among the queries per run of tokens that descend from each other; they cover all queries.
        spans: Every pair that attends, once; the causal ones come first, and one per run covers all queries.
        paths: int64, shape (path_tokens,): for every run the packed tokens from the root to the run's last.
        path_lengths: How many those are, per run.
        pairs: Pairs of a query and a key that it attends to, of the own queries.
    """

    places: Tensor
    own: int
    runs: tuple[tuple[int, int], ...]
    spans: tuple[Span, ...]
    paths: Tensor
    path_lengths: tuple[int, ...]
    pairs: int

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """A packed sequence shared out.

    Attributes:
        shares: One per rank, all of the same length; together they hold every packed token once, copies aside.
        slots: int64, shape (packed,), where each packed token stands once the shares are put one behind the other.
    """

    shares: tuple[TokenShare, ...]
    slots: Tensor


def imbalance(sharings: Sequence[Sharing]) -> float:
    """Pairs of attention on the busiest rank, for which the others wait, over the mean rank's.

    Args:
        sharings: The micro-batches that the same ranks compute one by one, each with a busiest rank of its own.
    """
    pairs = [[share.pairs for share in sharing.shares] for sharing in sharings]
    return sum(map(max, pairs)) * len(pairs[0]) / sum(map(sum, pairs))


def whole_share(layout: Layout) -> TokenShare:
    """All packed tokens, for one rank."""
    return _share(layout, layout.chains, size=len(layout))


def share_tokens(layout: Layout, *, ranks: int, block: int | None = None) -> Sharing:
    """Shares packed tokens out: equally many for every rank, give or take a copy, and pairs of attention in balance.

    Chains are cut into blocks. The deepest block comes first and goes to the rank with the fewest pairs that has room;
    where the room ends a block is cut once more. So the shallow tokens at the end, which attend to little, make the
    numbers of tokens equal, and the pairs of two ranks differ by at most about three blocks' (docs/packing_inside.md).

    Args:
        layout: The packed rows; every rank has the same, and all find the same shares.
        ranks: Ranks that share them.
        block: Tokens of a block at most; by default what makes `BLOCKS_PER_RANK` of them, and at least `MIN_BLOCK`.
    """
    count = len(layout)
    block = block or max(MIN_BLOCK, count // (ranks * BLOCKS_PER_RANK))
    depths = layout.positions.tolist()
    rooms = [count // ranks + (rank < count % ranks) for rank in range(ranks)]
    pairs = [0] * ranks
    pieces: list[list[tuple[int, int]]] = [[] for _ in range(ranks)]
    # Twice the mean depth of a block, so that it is whole.
    blocks = sorted(_blocks(layout, block), key=lambda span: depths[span[0]] + depths[span[1] - 1], reverse=True)
    for start, stop in blocks:
        while start < stop:
            rank = min((rank for rank in range(ranks) if rooms[rank]), key=pairs.__getitem__)
            taken = min(rooms[rank], stop - start)
            pieces[rank].append((start, start + taken))
            rooms[rank] -= taken
            pairs[rank] += taken * (depths[start] + 1) + taken * (taken - 1) // 2
            start += taken
    heads = {start for start, _ in layout.chains}
    size = -(-count // ranks)
    shares = tuple(_share(layout, list(_joined(sorted(own), heads)), size=size) for own in pieces)
    slots = torch.empty(count, dtype=torch.int64)
    for rank, share in enumerate(shares):
        slots[share.places[: share.own]] = torch.arange(share.own) + rank * size
    return Sharing(shares=shares, slots=slots)


def _blocks(layout: Layout, block: int) -> Iterator[tuple[int, int]]:
    """The chains, cut into pieces of about equal length of at most `block` tokens."""
    for start, stop in layout.chains:
        count = -(-(stop - start) // block)
        cuts = [start + (stop - start) * cut // count for cut in range(count + 1)]
        yield from pairwise(cuts)


def _joined(pieces: Sequence[tuple[int, int]], heads: set[int]) -> Iterator[tuple[int, int]]:
    """Pieces in order, neighbours of one chain as one; `heads` are the first tokens of the chains."""
    start = stop = -1
    for first, last in pieces:
        if first != stop or first in heads:
            if stop > start:
                yield start, stop
            start = first
        stop = last
    if stop > start:
        yield start, stop


def _share(layout: Layout, pieces: Sequence[tuple[int, int]], *, size: int) -> TokenShare:
    """The share of some pieces of chains, ascending, filled up to `size` queries."""
    chain_heads = np.array([start for start, _ in layout.chains], dtype=np.int64)
    starts, stops = np.array(pieces, dtype=np.int64).reshape(-1, 2).T
    lengths = stops - starts
    lasts = lengths.cumsum()
    firsts = lasts - lengths
    own = int(lengths.sum())
    places = np.arange(own, dtype=np.int64) + np.repeat(starts - firsts, lengths)
    chains = (np.searchsorted(chain_heads, starts, side="right") - 1).tolist()
    runs = list(zip(firsts.tolist(), lasts.tolist(), strict=True))
    spans = [Span(*run, *piece, causal=True) for run, piece in zip(runs, pieces, strict=True)]
    before = [
        Span(*run, int(chain_heads[chain]), start, causal=False)
        for run, (start, _), chain in zip(runs, pieces, chains, strict=True)
        if start > chain_heads[chain]
    ]
    path_starts = np.cumsum([0, *layout.path_lengths])
    # A piece's path ends with the piece.
    path_lengths = [
        layout.path_lengths[chain] - (layout.chains[chain][1] - stop)
        for chain, (_, stop) in zip(chains, pieces, strict=True)
    ]
    paths = [
        layout.paths[path_starts[chain] : path_starts[chain] + length]
        for chain, length in zip(chains, path_lengths, strict=True)
    ]
    # A token at depth d attends to d others and itself.
    pairs = int(layout.positions.numpy()[places].sum()) + own
    if own < size:
        assert own == size - 1, "a share is filled up by one token at most"
        places = np.append(places, 0)
        runs.append((own, size))
        spans.append(Span(own, size, 0, 1, causal=True))
        paths.append(layout.paths[:1])
        path_lengths.append(1)
    return TokenShare(
        places=torch.from_numpy(places),
        own=own,
        runs=tuple(runs),
        spans=(*spans, *before, *_linked(layout, places[:own])),
        paths=torch.cat(paths),
        path_lengths=tuple(path_lengths),
        pairs=pairs,
    )


def _linked(layout: Layout, places: np.ndarray) -> Iterator[Span]:
    """The links of a layout, as far as their queries are among these."""
    if not layout.links:
        return
    links = np.array(layout.links, dtype=np.int64)
    firsts, lasts = (np.searchsorted(places, links[:, bound]) for bound in (0, 1))
    for first, last, (_, _, start, stop) in zip(firsts.tolist(), lasts.tolist(), layout.links, strict=True):
        if first < last:
            yield Span(first, last, start, stop, causal=False)
