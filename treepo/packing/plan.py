"""Micro-batches that count packed tokens: trees stay whole where they fit, and are cut where least is repeated."""

from dataclasses import dataclass

from treepo.packing.ranks import share_over_ranks
from treepo.packing.rows import Rows, Walk, walk_trees
from treepo.packing.split import split_tree


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Rows that are packed together.

    Attributes:
        rows: Their indices; those of a tree are neighbours.
        packed_tokens: Distinct tokens, tree by tree (an upper bound: trees whose prompts begin alike share more).
    """

    rows: tuple[int, ...]
    packed_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the rows of one rank's mini-batch are split.

    Attributes:
        batches: The micro-batches, largest first, so that the ranks' forwards of one turn take about equally long.
        row_tokens: Tokens of all rows, shared ones as often as they occur.
        tree_tokens: Distinct tokens of all trees.
        repeated_tokens: Tokens that are computed again because a tree was split.
    """

    batches: tuple[MicroBatch, ...]
    row_tokens: int
    tree_tokens: int
    repeated_tokens: int


def plan_micro_batches(rows: Rows, *, max_tokens: int, min_batches: int = 1) -> Plan:
    """Splits rows into micro-batches of at most `max_tokens` packed tokens.

    Args:
        rows: The rows of one mini-batch on one rank.
        max_tokens: Packed tokens that one forward may hold.
        min_batches: Most micro-batches that any rank needs; a plan never has more than it needs and this.

    Raises:
        ValueError: A row is longer than `max_tokens`, or there are fewer rows than micro-batches.
    """
    trees = walk_trees(rows)
    longest = int(rows.lengths.max())
    if longest > max_tokens:
        raise ValueError(f"packing: a micro-batch of {max_tokens} tokens cannot hold a row of {longest}")
    if min_batches > len(rows):
        raise ValueError(f"packing: {len(rows)} rows cannot make {min_batches} micro-batches")
    units = [part for tree in trees for part in split_tree(tree, max_tokens=max_tokens)]
    batches = _fill(units, max_tokens)
    while len(batches) < min_batches:
        # Only halving what fits keeps the count exact, and ranks must agree on it.
        batches.sort(key=lambda batch: (sum(len(unit.order) for unit in batch) > 1, _size(batch)))
        batches += _halve(batches.pop())
    planned = [
        MicroBatch(rows=tuple(row for unit in batch for row in unit.order), packed_tokens=_size(batch))
        for batch in batches
    ]
    return _planned(rows, trees, planned)


def plan_equal_rows(rows: Rows, *, batches: int) -> Plan:
    """Splits rows into micro-batches of equally many rows, trees whole where they fit, packed tokens in balance.

    Args:
        rows: The rows of one mini-batch on one rank.
        batches: Micro-batches; divides the rows.

    Raises:
        ValueError: It does not.
    """
    trees = walk_trees(rows)
    shares = share_over_ranks(trees, ranks=batches)
    return _planned(rows, trees, [MicroBatch(rows=share.rows, packed_tokens=share.packed_tokens) for share in shares])


def _planned(rows: Rows, trees: list[Walk], batches: list[MicroBatch]) -> Plan:
    tree_tokens = sum(tree.size for tree in trees)
    return Plan(
        batches=tuple(sorted(batches, key=lambda batch: batch.packed_tokens, reverse=True)),
        row_tokens=len(rows.tokens),
        tree_tokens=tree_tokens,
        repeated_tokens=sum(batch.packed_tokens for batch in batches) - tree_tokens,
    )


def _size(batch: list[Walk]) -> int:
    return sum(unit.size for unit in batch)


def _fill(units: list[Walk], max_tokens: int) -> list[list[Walk]]:
    """As few batches as first fit, largest first, finds; evened out where that keeps the limit."""
    falling = sorted(units, key=lambda unit: unit.size, reverse=True)
    filled: list[list[Walk]] = []
    for unit in falling:
        room = next((batch for batch in filled if _size(batch) + unit.size <= max_tokens), None)
        if room is None:
            filled.append([unit])
        else:
            room.append(unit)
    even: list[list[Walk]] = [[] for _ in filled]
    for unit in falling:
        min(even, key=_size).append(unit)
    return even if all(_size(batch) <= max_tokens for batch in even) else filled


def _halve(batch: list[Walk]) -> list[list[Walk]]:
    """Two batches of one: whole units apart if there are several, else the unit cut where least is repeated."""
    if len(batch) > 1:
        halves: tuple[list[Walk], list[Walk]] = ([], [])
        for unit in sorted(batch, key=lambda unit: unit.size, reverse=True):
            min(halves, key=_size).append(unit)
        return list(halves)
    (unit,) = batch
    count = len(unit.order)
    cuts = [(unit.part(range(cut)), unit.part(range(cut, count))) for cut in range(1, count)]
    one, other = min(cuts, key=lambda cut: (cut[0].size + cut[1].size, max(cut[0].size, cut[1].size)))
    return [[one], [other]]
