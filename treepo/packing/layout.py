"""Where every token of a set of rows stands once each distinct prefix is laid out once."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from treepo.packing.rows import Rows, Walk, walk_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The distinct tokens of one or more trees in depth-first order; all on the CPU.

    Token q may attend to token k where ``k <= q < ends[k]``: those are its ancestors and itself.

    Attributes:
        tokens: int64, shape (packed,), token ids; padding at the end holds 0.
        positions: int64, shape (packed,), depth in tokens, which is the position id.
        parents: int64, shape (packed,), the token whose logits predict this one; -1 at a root and on padding.
        ends: int64, shape (packed,), one past the last token of the subtree.
        places: int64, shape (row_tokens,), where each row token stands.
        chains: Per run of consecutive tokens that descend from each other, its start and stop; they cover everything.
        links: (query start, query stop, key start, key stop): these queries descend from all of these keys, in another
            chain. Chains and links together are every pair that may attend, once.
    """

    tokens: Tensor
    positions: Tensor
    parents: Tensor
    ends: Tensor
    places: Tensor
    chains: tuple[tuple[int, int], ...]
    links: tuple[tuple[int, int, int, int], ...]

    def __len__(self) -> int:
        return len(self.tokens)


def lay_out(rows: Rows, *, multiple_of: int = 1) -> Layout:
    """Packs rows by their common prefixes: trees, plain groups of one prompt, and several prompts alike.

    Prompts that begin alike share those tokens too. Rows that repeat each other take no room.

    Args:
        rows: The rows.
        multiple_of: Fills up with padding tokens, which attend to each other only, to a multiple of this.

    Returns:
        The layout; its ``places`` follow the order of ``rows``.
    """
    walk = walk_rows(rows)
    shared = np.array(walk.shared, dtype=np.int64)
    gains = np.array(walk.lengths, dtype=np.int64) - shared
    starts = np.concatenate([[0], gains.cumsum()])
    size = int(starts[-1])
    padding = -size % multiple_of
    offsets = np.concatenate([[0], rows.lengths.numpy().cumsum()])

    # A row's new tokens begin at depth `shared`, padding at depth 0.
    positions = np.arange(size + padding, dtype=np.int64)
    positions[:size] -= np.repeat(starts[:-1] - shared, gains)
    positions[size:] -= size
    sources = positions[:size] + np.repeat(offsets[np.array(walk.order, dtype=np.int64)], gains)
    tokens = np.zeros(size + padding, dtype=np.int64)
    tokens[:size] = rows.tokens.numpy()[sources]

    places, parents = _trace(walk, starts, offsets, positions)
    ends = np.full(size + padding, size + padding, dtype=np.int64)
    links = _close(walk, starts, ends)
    chains = [(start, stop) for start, stop in pairwise([*starts.tolist(), size + padding]) if start < stop]
    return Layout(
        tokens=torch.from_numpy(tokens),
        positions=torch.from_numpy(positions),
        parents=torch.from_numpy(parents),
        ends=torch.from_numpy(ends),
        places=torch.from_numpy(places),
        chains=tuple(chains),
        links=tuple(links),
    )


def _trace(walk: Walk, starts: np.ndarray, offsets: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The place of every row token, and the parent of every packed one."""
    places = np.empty(int(offsets[-1]), dtype=np.int64)
    parents = np.arange(-1, len(positions) - 1, dtype=np.int64)
    before = places[:0]
    for row, length, shared, start in zip(walk.order, walk.lengths, walk.shared, starts.tolist(), strict=False):
        own = places[offsets[row] : offsets[row] + length]
        own[:shared] = before[:shared]
        own[shared:] = np.arange(start, start + length - shared)
        if shared and length > shared:
            parents[start] = own[shared - 1]
        before = own
    parents[positions == 0] = -1
    parents[int(starts[-1]) :] = -1
    return places, parents


def _close(walk: Walk, starts: np.ndarray, ends: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Fills in where every token's subtree ends, and finds the links.

    The subtree of a token at some depth ends where a later row begins that shares no more than the tokens before it.
    Going backwards, a stack holds the rows that may still end something: their `shared`, falling towards the bottom.
    """
    links: list[tuple[int, int, int, int]] = []
    open_ends = [(0, int(starts[-1]))]
    for length, shared, start in zip(
        reversed(walk.lengths), reversed(walk.shared), reversed(starts[:-1].tolist()), strict=True
    ):
        depth, covered = length, start + length - shared
        while depth > shared:
            level, end = open_ends[-1]
            if end > covered:
                links.append((covered, end, start, start + depth - shared))
                covered = end
            top = max(level, shared)
            ends[start + top - shared : start + depth - shared] = end
            depth = top
            if level > shared:
                open_ends.pop()
        while open_ends and open_ends[-1][0] >= shared:
            open_ends.pop()
        open_ends.append((shared, start))
    return links
