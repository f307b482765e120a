"""The choices that keep packed tokens few and even, each on the smallest case where another choice is worse."""

import pytest

from treepo.packing import Plan, Rows, Walk, plan_micro_batches, share_by_room, split_tree


def planned(*trees: tuple[int, int], limit: int, min_batches: int = 1) -> Plan:
    """Plans trees given by their rows and their tokens; the rows of a tree share all but their last token."""
    prompts = [[tree + 1] * (tokens - rows) for tree, (rows, tokens) in enumerate(trees) for _ in range(rows)]
    responses = [[100 + row] for rows, _ in trees for row in range(rows)]
    return plan_micro_batches(Rows.of(prompts, responses), max_tokens=limit, min_batches=min_batches)


def sizes(plan: Plan) -> list[int]:
    return [batch.packed_tokens for batch in plan.batches]


def test_batches_are_evened_out_where_that_keeps_the_limit() -> None:
    # Filled one after the other: 6 + 4 and 3 + 3.
    assert sizes(planned((1, 6), (1, 4), (1, 3), (1, 3), limit=10)) == [9, 7]


def test_batches_stay_as_filled_where_evening_out_would_exceed_the_limit() -> None:
    # Each to the lighter of two batches: 5 + 2 + 2 and 3 + 2 + 2.
    plan = planned((1, 5), (1, 3), *[(1, 2)] * 4, limit=8)
    assert sizes(plan) == [8, 8]


def test_the_largest_batch_of_several_rows_is_halved_for_a_rank_that_needs_more() -> None:
    assert sizes(planned((2, 8), (1, 3), (1, 3), limit=8)) == [8, 6]
    assert sizes(planned((2, 8), (1, 3), (1, 3), limit=8, min_batches=3)) == [7, 7, 6]
    assert sizes(planned((1, 8), (1, 3), (1, 3), limit=8, min_batches=3)) == [8, 3, 3], "one row is not halved"


def test_a_batch_of_whole_trees_is_halved_between_them_and_evenly() -> None:
    assert sizes(planned((2, 5), (1, 4), (2, 3), (1, 2), limit=14, min_batches=2)) == [7, 7]


def test_a_tree_is_halved_where_least_is_repeated_and_then_evenly() -> None:
    star = Rows.of([[1]] * 4, [[leaf] * 5 for leaf in (2, 3, 4, 5)])
    assert sizes(plan_micro_batches(star, max_tokens=21, min_batches=2)) == [11, 11]
    fork = Rows.of([[1]] * 4, [[2] * 5 + [3], [2] * 5 + [4], [2] * 5 + [5], [6] * 5])
    assert sizes(plan_micro_batches(fork, max_tokens=14, min_batches=2)) == [9, 6]


@pytest.mark.parametrize(
    ("lengths", "shared", "limit", "fewest"),
    [
        pytest.param((4, 7, 10, 7, 11, 5), (0, 2, 5, 4, 6, 1), 17, 30, id="consecutive rows in the walk's order"),
        pytest.param((9, 10, 7, 7), (0, 5, 6, 3), 14, 24, id="consecutive rows, larger subtrees first"),
        pytest.param((9, 5, 8, 7, 5), (0, 4, 2, 2, 2), 14, 26, id="row by row in the walk's order"),
        pytest.param((9, 6, 9, 11), (0, 4, 4, 5), 14, 27, id="row by row, longest first"),
    ],
)
def test_every_attempt_at_a_split_is_the_best_for_some_tree(
    lengths: tuple[int, ...], shared: tuple[int, ...], limit: int, fewest: int
) -> None:
    tree = Walk(order=tuple(range(len(lengths))), lengths=lengths, shared=shared)
    parts = split_tree(tree, max_tokens=limit)
    assert sum(part.size for part in parts) == fewest
    assert sorted(row for part in parts for row in part.order) == list(range(len(lengths)))


def trees_of(*shapes: tuple[int, int, int]) -> list[Walk]:
    """Trees of some rows of one length that share their first tokens."""
    trees: list[Walk] = []
    for rows, length, shared in shapes:
        first = sum(len(tree.order) for tree in trees)
        trees.append(
            Walk(order=tuple(range(first, first + rows)), lengths=(length,) * rows, shared=(0, *[shared] * (rows - 1)))
        )
    return trees


@pytest.mark.parametrize(
    ("shapes", "busiest"),
    [
        pytest.param([(2, 2, 1), (1, 2, 0), (1, 4, 0), (1, 11, 0), (1, 7, 0)], 13, id="widest first"),
        pytest.param([(2, 2, 1), (2, 5, 2), (3, 8, 4), (2, 11, 8)], 16, id="of equally wide ones largest first"),
    ],
)
def test_trees_are_placed_widest_and_then_largest_first(shapes: list[tuple[int, int, int]], busiest: int) -> None:
    trees = trees_of(*shapes)
    rows = sum(len(tree.order) for tree in trees)
    places = share_by_room(trees, rooms=[rows // 3] * 3)
    assert max(sum(part.size for part in place) for place in places) == busiest
    assert sum(len(place) for place in places) == 5, "as few parts as there can be"
