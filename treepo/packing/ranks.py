"""Rows over data-parallel ranks: whole trees on one rank, as many rows everywhere, packed tokens in balance."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from treepo.packing.rows import Walk


@dataclass(frozen=True, slots=True, kw_only=True)
class RankShare:
    """What one rank gets.

    Attributes:
        rows: Row indices; those of a tree are neighbours.
        packed_tokens: Distinct tokens, tree by tree.
    """

    rows: tuple[int, ...]
    packed_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class _Unit:
    """A tree or a part of one, with its numbers counted once: they are compared very often."""

    rows: tuple[int, ...]
    width: int
    size: int


@dataclass(slots=True)
class _Rank:
    room: int
    units: list[_Unit] = field(default_factory=list)
    tokens: int = 0

    def take(self, unit: _Unit) -> None:
        self.units.append(unit)
        self.tokens += unit.size
        self.room -= unit.width

    def give(self, unit: _Unit) -> None:
        self.units.remove(unit)
        self.tokens -= unit.size
        self.room += unit.width


def share_over_ranks(trees: Sequence[Walk], *, ranks: int) -> tuple[RankShare, ...]:
    """Spreads trees over ranks so that the busiest has few packed tokens and all have as many rows.

    The widest and largest trees go first, each to the rank with the fewest tokens that has room for all its rows; then
    trees of equal width are exchanged with the busiest rank as long as that helps. A tree is cut only where no rank has
    room for it whole, which cannot happen when all trees are equally wide and their number divides by the ranks.

    Args:
        trees: The trees; their ``order`` holds the indices of the batch's rows.
        ranks: Data-parallel ranks.

    Returns:
        One share per rank; together they hold every row once.

    Raises:
        ValueError: The rows do not divide by the ranks.
    """
    row_count = sum(len(tree.order) for tree in trees)
    if row_count % ranks:
        raise ValueError(f"packing: {row_count} rows cannot be shared evenly by {ranks} ranks")
    return tuple(
        RankShare(
            rows=tuple(row for part in parts for row in part.order), packed_tokens=sum(part.size for part in parts)
        )
        for parts in share_by_room(trees, rooms=[row_count // ranks] * ranks)
    )


def share_by_room(trees: Sequence[Walk], *, rooms: Sequence[int]) -> list[list[Walk]]:
    """The same over places that have room for different numbers of rows.

    Args:
        trees: The trees.
        rooms: Rows of each place; together as many as the trees have.

    Returns:
        Per place the trees, or parts of them, that it gets.
    """
    assert sum(rooms) == sum(len(tree.order) for tree in trees), "there is as much room as there are rows"
    places = [_Rank(room=room) for room in rooms]
    homeless: list[Walk] = []
    for tree in sorted(trees, key=lambda tree: (len(tree.order), tree.size), reverse=True):
        fitting = [rank for rank in places if rank.room >= len(tree.order)]
        if fitting:
            min(fitting, key=lambda rank: rank.tokens).take(_unit(tree))
        else:
            homeless.append(tree)
    for tree in homeless:
        placed = 0
        while placed < len(tree.order):
            widest = max(places, key=lambda rank: (rank.room, -rank.tokens))
            part = tree.part(range(placed, min(placed + widest.room, len(tree.order))))
            widest.take(_unit(part))
            placed += len(part.order)
    _even_out(places)
    return [_whole(trees, {row for unit in rank.units for row in unit.rows}) for rank in places]


def _unit(tree: Walk) -> _Unit:
    return _Unit(rows=tree.order, width=len(tree.order), size=tree.size)


def _whole(trees: Sequence[Walk], rows: set[int]) -> list[Walk]:
    """A rank's rows tree by tree; several parts of one tree, once on the same rank, are one part again."""
    chosen = ([place for place, row in enumerate(tree.order) if row in rows] for tree in trees)
    return [tree.part(places) for tree, places in zip(trees, chosen, strict=True) if places]


def _even_out(places: list[_Rank]) -> None:
    """Exchanges units of equal width between the busiest rank and another while the busier of the two gets lighter."""
    while True:
        busiest = max(places, key=lambda rank: rank.tokens)
        exchanges = [
            (max(busiest.tokens - gain, other.tokens + gain), unit, other, swapped)
            for other in places
            for unit in busiest.units
            for swapped in other.units
            if other is not busiest
            and unit.width == swapped.width
            and 0 < (gain := unit.size - swapped.size) < busiest.tokens - other.tokens
        ]
        if not exchanges:
            return
        _, unit, other, swapped = min(exchanges, key=lambda exchange: exchange[0])
        busiest.give(unit)
        other.give(swapped)
        busiest.take(swapped)
        other.take(unit)
