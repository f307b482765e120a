"""Cutting a tree that is too large for one forward into parts, with few tokens computed again.

A row is named by its **place** in the tree's walk throughout, so that the rows of a subtree are a range of places. What
two rows have in common is the least `shared` behind the first place up to the second.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

from treepo.packing.rows import Walk


class _Way(NamedTuple):
    """A way to cut the first rows of a walk into parts. The smaller of two is better, compared field by field.

    Attributes:
        repeated: Tokens computed again.
        parts: How many parts.
        largest: Tokens of the largest part.
        last: The place where the last part begins.
    """

    repeated: int
    parts: int
    largest: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subtree:
    """A subtree that is still to be visited.

    Attributes:
        places: Its rows, at least one.
        above: Tokens that they have in common with the row that is visited right before them.
    """

    places: range
    above: int


def split_tree(tree: Walk, *, max_tokens: int) -> list[Walk]:
    """Cuts a tree into parts of at most `max_tokens` distinct tokens that repeat few tokens.

    Finding the fewest is bin packing, so the best of four attempts is taken, each quadratic in the rows at most: the
    exact best over all cuts of a depth-first order into consecutive rows, for the walk's own order and for the one that
    visits larger subtrees first; and rows put one by one, in the walk's order and longest first, where they add least.
    docs/packing_inside.md says how far that is from the best of all.

    Args:
        tree: The tree; each row has at most `max_tokens` tokens.
        max_tokens: Distinct tokens of a part.

    Returns:
        The parts; the tree itself if it fits. Of equally good ways one with few parts and a small largest part.
    """
    if tree.size <= max_tokens:
        return [tree]
    places = range(len(tree.order))
    attempts = [
        _cut_in_order(tree, max_tokens),
        _cut_in_order(_larger_first(tree), max_tokens),
        _add_where_cheapest(tree, places, max_tokens),
        _add_where_cheapest(tree, sorted(places, key=lambda place: -tree.lengths[place]), max_tokens),
    ]
    return min(attempts, key=lambda parts: (sum(part.size for part in parts), len(parts), max(p.size for p in parts)))


def _cut_in_order(tree: Walk, max_tokens: int) -> list[Walk]:
    """The best cuts into consecutive rows: a cut before a row repeats what it shares with the one before it.

    So the cheapest way to cut the first j rows is the cheapest over i of cutting the first i, with i to j as one part.
    """
    best = [_Way(repeated=0, parts=0, largest=0, last=0)]  # for the first 0, 1, 2, ... rows
    for stop in range(1, len(tree.order) + 1):
        ways: list[tuple[int, int, int, int]] = []  # the fields of `_Way`: plain tuples are made faster
        behind = 0  # what the rows behind `start` add to it
        for start in range(stop - 1, -1, -1):
            size = behind + tree.lengths[start]
            if size <= max_tokens:
                repeated, before, largest, _ = best[start]
                ways.append((repeated + tree.shared[start], before + 1, max(largest, size), start))
            behind += tree.lengths[start] - tree.shared[start]
            if behind > max_tokens:
                break
        best.append(_Way(*min(ways)))
    parts: list[Walk] = []
    stop = len(tree.order)
    while stop:
        start = best[stop].last
        parts.append(tree.part(range(start, stop)))
        stop = start
    return parts[::-1]


def _larger_first(tree: Walk) -> Walk:
    """The same tree, its subtrees visited from the larger to the smaller at every fork."""
    visited: list[int] = []
    shared: list[int] = []  # what each has in common with the one visited before it
    todo = [_Subtree(places=range(len(tree.order)), above=0)]  # the next one stands last
    while todo:
        subtree = todo.pop()
        if len(subtree.places) == 1:
            visited += subtree.places
            shared.append(subtree.above)
            continue
        fork, branches = _branches(tree, subtree.places)
        largest, *others = sorted(branches, key=lambda places: tree.part(places).size, reverse=True)
        # The first branch follows what was visited before the subtree, each other one a branch of the same fork.
        todo += [_Subtree(places=places, above=fork) for places in reversed(others)]
        todo.append(_Subtree(places=largest, above=subtree.above))
    return Walk(
        order=tuple(tree.order[place] for place in visited),
        lengths=tuple(tree.lengths[place] for place in visited),
        shared=tuple(shared),
    )


def _branches(tree: Walk, places: range) -> tuple[int, list[range]]:
    """The first fork of a subtree of several rows: the tokens that all of them have in common, and its branches.

    A branch begins with each row that shares no more than these with the row before it.
    """
    fork = min(tree.shared[places.start + 1 : places.stop])
    begins = [places.start, *(place for place in places[1:] if tree.shared[place] == fork), places.stop]
    return fork, [range(*bounds) for bounds in pairwise(begins)]


def _add_where_cheapest(tree: Walk, places: Iterable[int], max_tokens: int) -> list[Walk]:
    """Puts the rows one by one into the part to which each adds the fewest tokens, if that has room.

    A row adds what is behind the tokens that it has in common with the nearest row of the part; so `sizes` holds the
    distinct tokens of every part throughout.
    """
    parts: list[list[int]] = []
    sizes: list[int] = []
    for place in places:
        common = _common_with_all(tree, place)
        adds = [tree.lengths[place] - max(common[member] for member in members) for members in parts]
        fitting = [(added, part) for part, added in enumerate(adds) if sizes[part] + added <= max_tokens]
        if fitting:
            added, part = min(fitting)
            parts[part].append(place)
            sizes[part] += added
        else:
            parts.append([place])
            sizes.append(tree.lengths[place])
    return [tree.part(sorted(members)) for members in parts]


def _common_with_all(tree: Walk, place: int) -> list[int]:
    """Tokens that the row at one place has in common with the row at every place; with itself all."""
    own = tree.lengths[place]
    onwards = list(accumulate(tree.shared[place + 1 :], min, initial=own))
    backwards = list(accumulate(tree.shared[place:0:-1], min, initial=own))
    return [*backwards[:0:-1], *onwards]
