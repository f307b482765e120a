"""Cutting a tree that is too large for one forward into parts, with few tokens computed again."""

from collections.abc import Sequence
from itertools import pairwise

from treepo.packing.rows import Walk


def split_tree(tree: Walk, *, max_tokens: int) -> list[Walk]:
    """Cuts a tree into parts of at most `max_tokens` distinct tokens that repeat few tokens.

    Finding the fewest is bin packing, so the best of four attempts is taken, each quadratic in the rows at most: the
    exact best over all cuts of a depth-first order into consecutive rows, for the walk's own order and for the one that
    visits larger subtrees first; and rows put one by one, in the walk's order and longest first, where they add least.
    docs/packing.md says how far that is from the best of all.

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

    So the cheapest way to place the first j rows is the cheapest over i of placing the first i and then i to j as one.
    """
    # Tokens repeated, parts, tokens of the largest part, start of the last part.
    best: list[tuple[int, int, int, int]] = [(0, 0, 0, 0)]
    for stop in range(1, len(tree.order) + 1):
        ways: list[tuple[int, int, int, int]] = []
        behind = 0  # what the rows behind `start` add to it
        for start in range(stop - 1, -1, -1):
            size = behind + tree.lengths[start]
            if size <= max_tokens:
                repeated, count, largest, _ = best[start]
                ways.append((repeated + tree.shared[start], count + 1, max(largest, size), start))
            behind += tree.lengths[start] - tree.shared[start]
            if behind > max_tokens:
                break
        best.append(min(ways))
    parts: list[Walk] = []
    stop = len(tree.order)
    while stop:
        start = best[stop][3]
        parts.append(tree.part(range(start, stop)))
        stop = start
    return parts[::-1]


def _larger_first(tree: Walk) -> Walk:
    """The same tree, its subtrees visited from the larger to the smaller at every fork."""
    order: list[int] = []
    shared: list[int] = []
    # Ranges of places that are one subtree, and what the first of them shares with the row visited before.
    todo = [(0, len(tree.order), 0)]
    while todo:
        start, stop, above = todo.pop()
        if stop - start == 1:
            order.append(start)
            shared.append(above)
            continue
        fork = min(tree.shared[start + 1 : stop])
        begins = [start, *(at for at in range(start + 1, stop) if tree.shared[at] == fork), stop]
        branches = sorted(pairwise(begins), key=lambda branch: tree.part(range(*branch)).size, reverse=True)
        todo += [(*branch, above if at == 0 else fork) for at, branch in reversed(list(enumerate(branches)))]
    return Walk(
        order=tuple(tree.order[place] for place in order),
        lengths=tuple(tree.lengths[place] for place in order),
        shared=tuple(shared),
    )


def _add_where_cheapest(tree: Walk, order: Sequence[int], max_tokens: int) -> list[Walk]:
    """Puts the rows one by one into the part to which each adds the fewest tokens, if that has room."""
    parts: list[list[int]] = []
    sizes: list[int] = []
    for place in order:
        common = _shared_with_all(tree, place)
        adds = [tree.lengths[place] - max(common[other] for other in part) for part in parts]
        fitting = [(added, at) for at, added in enumerate(adds) if sizes[at] + added <= max_tokens]
        if fitting:
            added, at = min(fitting)
            parts[at].append(place)
            sizes[at] += added
        else:
            parts.append([place])
            sizes.append(tree.lengths[place])
    return [tree.part(sorted(part)) for part in parts]


def _shared_with_all(tree: Walk, place: int) -> list[int]:
    """Tokens that one row has in common with each: the least `shared` on the way there."""
    common = [0] * len(tree.order)
    common[place] = running = tree.lengths[place]
    for other in range(place + 1, len(tree.order)):
        running = common[other] = min(running, tree.shared[other])
    running = tree.lengths[place]
    for other in range(place - 1, -1, -1):
        running = common[other] = min(running, tree.shared[other + 1])
    return common
