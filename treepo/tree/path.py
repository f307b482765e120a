"""A path through a tree as numbers: what is said of a trajectory wherever its nodes are not at hand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class NodePath:
    """The nodes of a path, from the root's child to the leaf, and how many tokens each has.

    The sampler gives one to every trajectory. Rows, rewards, estimators, packing, dumps and the evaluation's records
    carry it on, as JSON in the one form of `plain`.

    Example:
        Two responses of nine and seven tokens that share their first four::

            NodePath(node_ids=(1, 2), node_lengths=(4, 5))     ? ─ 1 ┬ 2
            NodePath(node_ids=(1, 3), node_lengths=(4, 3))           └ 3

    Attributes:
        node_ids: Shape [nodes]; unique within the prompt's tree, from 1.
        node_lengths: Tokens of each node, shape [nodes], at least 1 each.

    Raises:
        ValueError: The two differ in length, an id occurs twice or is not positive, or a node has no token.
    """

    node_ids: tuple[int, ...]
    node_lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        ids, lengths = self.node_ids, self.node_lengths
        if (
            len(ids) != len(lengths)
            or len(set(ids)) != len(ids)
            or min(ids, default=1) < 1
            or min(lengths, default=1) < 1
        ):
            raise ValueError(f"a path's nodes need an id and tokens each, got ids {ids} with lengths {lengths}")

    @property
    def length(self) -> int:
        """Tokens of the path."""
        return sum(self.node_lengths)

    def spans(self) -> Iterator[tuple[int, slice]]:
        """Every node's id, and where its tokens are in the response."""
        start = 0
        for node_id, length in zip(self.node_ids, self.node_lengths, strict=True):
            yield node_id, slice(start, start + length)
            start += length

    def shared_tokens(self, other: "NodePath") -> int:
        """Tokens of the nodes that two paths of one tree begin with in common."""
        shared = 0
        for node_id, its, length in zip(self.node_ids, other.node_ids, self.node_lengths, strict=False):
            if node_id != its:
                break
            shared += length
        return shared

    def plain(self) -> dict[str, list[int]]:
        """The path as plain values, which any process and JSON can carry."""
        return {"node_ids": list(self.node_ids), "node_lengths": list(self.node_lengths)}

    @classmethod
    def of_plain(cls, values: Mapping[str, Sequence[Any]]) -> "NodePath":
        """The path that `plain` gave.

        Raises:
            KeyError: A part is missing.
            ValueError: The parts are no path.
        """
        return cls(
            node_ids=tuple(int(node_id) for node_id in values["node_ids"]),
            node_lengths=tuple(int(length) for length in values["node_lengths"]),
        )
