"""Where every token of a set of rows stands once each distinct prefix is laid out once.

A **row token** is one that the trainer holds, shared ones as often as they occur. A **place** is the index of a packed
token, which stands for one distinct prefix. The **path** of a row is the places of its tokens, from first to last.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from treepo.packing.rows import Rows, Walk, walk_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The distinct tokens of one or more trees in depth-first order; all on the CPU.

    Token q may attend to token k where ``k <= q < ends[k]``: those are its ancestors and itself.

    Three rows, ``a b c``, ``a b d e`` and ``a f``, add three, two and one token::

        token         a b c d e f         a - b - c
        place         0 1 2 3 4 5         |   |
        positions     0 1 2 2 3 1         |   d - e
        parents      -1 0 1 1 3 0         |
        ends          6 5 3 5 5 6         f
        places        0 1 2, 0 1 3 4, 0 5
        chains        (0, 3), (3, 5), (5, 6)
        links         (3, 5, 0, 2): d and e descend from a and b; (5, 6, 0, 1): f descends from a
        paths         0 1 2, 0 1 3 4, 0 5

    Attributes:
        tokens: int64, shape (packed,), token ids.
        positions: int64, shape (packed,), depth in tokens, which is the position id.
        parents: int64, shape (packed,), the token whose logits predict this one; -1 at a root.
        ends: int64, shape (packed,), one past the last token of the subtree.
        places: int64, shape (row_tokens,), where each row token stands.
        chains: Per run of consecutive tokens that descend from each other, its start and stop; they cover everything.
        links: (query start, query stop, key start, key stop): these queries descend from all of these keys, in another
            chain. Chains and links together are every pair that may attend, once.
        paths: int64, shape (path_tokens,): for every chain the packed tokens from the root to the chain's last.
        path_lengths: How many those are, per chain.
    """

    tokens: Tensor
    positions: Tensor
    parents: Tensor
    ends: Tensor
    places: Tensor
    chains: tuple[tuple[int, int], ...]
    links: tuple[tuple[int, int, int, int], ...]
    paths: Tensor
    path_lengths: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.tokens)


def lay_out(rows: Rows, *, walk: Walk | None = None) -> Layout:
    """Packs rows by their common prefixes: trees, plain groups of one prompt, and several prompts alike.

    Prompts that begin alike share those tokens too. Rows that repeat each other add nothing.

    Args:
        rows: The rows.
        walk: What to share; by default all that the rows have in common.

    Returns:
        The layout; its ``places`` follow the order of ``rows``.
    """
    walk = walk or walk_rows(rows)
    shared = np.array(walk.shared, dtype=np.int64)
    added = np.array(walk.lengths, dtype=np.int64) - shared
    stops = added.cumsum()
    starts = stops - added
    packed = walk.size
    offsets = rows.lengths.numpy().cumsum() - rows.lengths.numpy()

    # The tokens that a row adds begin at depth `shared`.
    positions = np.arange(packed, dtype=np.int64) - np.repeat(starts - shared, added)
    sources = positions + np.repeat(offsets[np.array(walk.order, dtype=np.int64)], added)

    places, paths = _paths(walk, starts, offsets)
    parents, ends = _parents(walk, paths, packed), _ends(walk, paths, starts, packed)
    adds = added > 0
    heads, tails = starts[adds], stops[adds]
    adding = [path for path, own in zip(paths, adds, strict=True) if own]
    return Layout(
        tokens=torch.from_numpy(rows.tokens.to(torch.int64).numpy()[sources]),
        positions=torch.from_numpy(positions),
        parents=torch.from_numpy(parents),
        ends=torch.from_numpy(ends),
        places=torch.from_numpy(places),
        chains=tuple(zip(heads.tolist(), tails.tolist(), strict=True)),
        links=tuple(_links(heads, tails, parents, ends)),
        paths=torch.from_numpy(np.concatenate([places[:0], *adding])),
        path_lengths=tuple(len(path) for path in adding),
    )


def _paths(walk: Walk, starts: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The place of every row token, in the order of the rows; and views of it, the paths, in the order of the walk.

    A row goes the way of the row before as far as the two share tokens, and on through those that it adds.
    """
    places = np.empty(sum(walk.lengths), dtype=np.int64)
    paths: list[np.ndarray] = []
    before = places[:0]
    for row, length, shared, start in zip(walk.order, walk.lengths, walk.shared, starts.tolist(), strict=True):
        path = places[offsets[row] : offsets[row] + length]
        path[:shared] = before[:shared]
        path[shared:] = np.arange(start, start + length - shared)
        paths.append(path)
        before = path
    return places, paths


def _parents(walk: Walk, paths: Sequence[np.ndarray], packed: int) -> np.ndarray:
    """The parent of every place: the one before it, or for the first token that a row adds the last that it shares."""
    parents = np.arange(-1, packed - 1, dtype=np.int64)
    for path, shared in zip(paths, walk.shared, strict=True):
        if shared < len(path):
            parents[path[shared]] = path[shared - 1] if shared else -1
    return parents


def _ends(walk: Walk, paths: Sequence[np.ndarray], starts: np.ndarray, packed: int) -> np.ndarray:
    """One past the subtree of every place: where the first later row begins whose path does not hold the place.

    A row that shares n tokens with the row before ends all of that one's path behind the first n. None of these places
    is on a later path, so each is ended once at most; what no row ends reaches to the end of all rows.
    """
    ends = np.full(packed, packed, dtype=np.int64)
    for before, shared, start in zip(paths[:-1], walk.shared[1:], starts[1:].tolist(), strict=True):
        ends[before[shared:]] = start
    return ends


def _links(
    heads: np.ndarray, tails: np.ndarray, parents: np.ndarray, ends: np.ndarray
) -> list[tuple[int, int, int, int]]:
    """One link per fork, which is a place where other chains branch off.

    Its keys are the fork's own chain up to and including the fork. Its queries are the other branches, so what is left
    of the fork's subtree behind that of the next token of the chain, or behind the fork if the chain goes no further.
    In the example of `Layout` b is a fork: c's subtree stops at 3 and b's at 5, so 3 to 5 attend to a and b.

    Args:
        heads: The first place of every chain, ascending.
        tails: One past the last place of each.
        parents: The parent of every place.
        ends: One past the subtree of every place.

    Returns:
        The links, from the last fork to the first.
    """
    forks = np.unique(parents[heads])[::-1]
    forks = forks[forks >= 0]
    chains = np.searchsorted(heads, forks, side="right") - 1
    behind = forks + 1
    first_queries = np.where(behind < tails[chains], ends[behind], behind)
    columns = (first_queries, ends[forks], heads[chains], behind)
    return list(zip(*(column.tolist() for column in columns), strict=True))
