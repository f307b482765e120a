"""Rows as the trainer holds them, and how much each shares with its neighbour once they are sorted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from treepo.tree import NodePath


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Trajectories without padding: the prompt's tokens followed by the response's, one row after the other.

    Rows may repeat each other, and a response may be empty.

    Attributes:
        tokens: Integer, shape (row_tokens,), on the CPU.
        lengths: int64, shape (rows,), tokens of each row.
        prompt_lengths: int64, shape (rows,), how many of them are the prompt's.

    Raises:
        ValueError: The lengths do not fit the tokens, or a prompt is longer than its row.
    """

    tokens: Tensor
    lengths: Tensor
    prompt_lengths: Tensor

    def __post_init__(self) -> None:
        fit = self.lengths.shape == self.prompt_lengths.shape and int(self.lengths.sum()) == len(self.tokens)
        if not fit or bool(((self.prompt_lengths < 0) | (self.prompt_lengths > self.lengths)).any()):
            raise ValueError(
                f"rows: {len(self.tokens)} tokens do not fit lengths {self.lengths.tolist()} "
                f"with prompts {self.prompt_lengths.tolist()}"
            )

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> "Rows":
        """Joins the prompt and the response of every row."""
        joined = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
        return cls(
            tokens=torch.tensor([token for row in joined for token in row], dtype=torch.int64),
            lengths=torch.tensor([len(row) for row in joined], dtype=torch.int64),
            prompt_lengths=torch.tensor([len(prompt) for prompt in prompts], dtype=torch.int64),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def arrays(self) -> list[np.ndarray]:
        """The tokens of every row, int32, each shape (length,); views of one array."""
        ends = self.lengths.cumsum(0).tolist()
        tokens = self.tokens.to(torch.int32).numpy()
        return [tokens[start:stop] for start, stop in pairwise([0, *ends])]

    def select(self, indices: Sequence[int]) -> "Rows":
        """The rows at `indices` (at least one), in that order."""
        parts = self.tokens.split(self.lengths.tolist())
        chosen = torch.tensor(indices, dtype=torch.int64)
        return Rows(
            tokens=torch.cat([parts[index] for index in indices]),
            lengths=self.lengths[chosen],
            prompt_lengths=self.prompt_lengths[chosen],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """Rows in the order of a depth-first walk over their tree: those that share a prefix are neighbours.

    `shared` says all of the tree: a row adds the tokens behind its first `shared`, and the consecutive rows i to j hold
    `lengths[i] + sum of (lengths - shared) over i+1 to j` distinct tokens.

    Attributes:
        order: The row at each place of the walk.
        lengths: Tokens of that row.
        shared: Tokens at its beginning that it has in common with the row before; 0 for the first.
    """

    order: tuple[int, ...]
    lengths: tuple[int, ...]
    shared: tuple[int, ...]

    @property
    def size(self) -> int:
        """Distinct tokens of all rows."""
        return sum(self.lengths) - sum(self.shared)

    def part(self, places: Sequence[int]) -> "Walk":
        """Some places of the walk, ascending, as a walk of their own."""
        shared = (min(self.shared[one + 1 : other + 1]) for one, other in pairwise(places))
        return Walk(
            order=tuple(self.order[place] for place in places),
            lengths=tuple(self.lengths[place] for place in places),
            shared=(0, *shared)[: len(places)],
        )


def walk_rows(rows: Rows) -> Walk:
    """Sorts all rows by their tokens, as a radix tree would; no node path is needed, and none can be wrong."""
    return _walk(rows.arrays(), range(len(rows)))


def walk_trees(rows: Rows) -> list[Walk]:
    """One walk per tree; the rows of a tree are those whose prompts hold the same tokens.

    Returns:
        In the order of the trees' first rows.
    """
    arrays = rows.arrays()
    trees: dict[bytes, list[int]] = {}
    for index, prompt in enumerate(rows.prompt_lengths.tolist()):
        trees.setdefault(arrays[index][:prompt].tobytes(), []).append(index)
    return [_walk(arrays, indices) for indices in trees.values()]


def _walk(arrays: Sequence[np.ndarray], indices: Iterable[int]) -> Walk:
    # Any order of the bytes puts equal prefixes side by side, so the machine's own byte order will do.
    keys = {index: arrays[index].tobytes() for index in indices}
    order = sorted(keys, key=keys.__getitem__)
    return Walk(
        order=tuple(order),
        lengths=tuple(len(arrays[index]) for index in order),
        shared=(0, *(_common(arrays[one], arrays[other]) for one, other in pairwise(order)))[: len(order)],
    )


def _common(left: np.ndarray, right: np.ndarray) -> int:
    length = min(len(left), len(right))
    differ = left[:length] != right[:length]
    return int(differ.argmax()) if differ.any() else length


def walk_paths(*, rows: Sequence[int], prompt_length: int, paths: Sequence[NodePath]) -> Walk:
    """The walk over one tree by its node paths, for planning where the tokens are not at hand.

    Siblings that happened to sample the same first tokens count as different here, so `size` is an upper bound.

    Args:
        rows: The indices of the tree's rows.
        prompt_length: Tokens of the prompt.
        paths: The way of each through the tree.
    """
    order = sorted(range(len(paths)), key=lambda place: paths[place].node_ids)
    shared = [prompt_length + paths[one].shared_tokens(paths[other]) for one, other in pairwise(order)]
    return Walk(
        order=tuple(rows[place] for place in order),
        lengths=tuple(prompt_length + paths[place].length for place in order),
        shared=(0, *shared)[: len(order)],
    )
