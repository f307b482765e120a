"""Padding rows are shared out among the mini-batches of an update, and every row stays on its rank."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treepo.verl.training.padding import spread_padding


def padding_per_mini_batch(padding: list[bool], order: list[int], ranks: int, mini_batches: int) -> list[int]:
    share = len(padding) // ranks
    part = share // mini_batches
    return [
        sum(padding[order[rank * share + mini * part + row]] for rank in range(ranks) for row in range(part))
        for mini in range(mini_batches)
    ]


def test_the_last_mini_batch_no_longer_holds_all_padding() -> None:
    # Two ranks, three mini-batches of four rows; verl leaves the padding at the end of each rank.
    padding = [False, False, False, False, True, True] * 2
    order = spread_padding(padding, ranks=2, mini_batches=3)
    assert padding_per_mini_batch(padding, list(range(12)), 2, 3) == [0, 0, 4]
    assert padding_per_mini_batch(padding, order, 2, 3) == [2, 1, 1]


@given(
    ranks=st.integers(1, 5),
    mini_batches=st.integers(1, 5),
    part=st.integers(1, 4),
    data=st.data(),
)
def test_every_mini_batch_gets_its_share_and_no_row_leaves_its_rank(
    ranks: int, mini_batches: int, part: int, data: st.DataObject
) -> None:
    share = mini_batches * part
    padding = data.draw(st.lists(st.booleans(), min_size=ranks * share, max_size=ranks * share))
    order = spread_padding(padding, ranks=ranks, mini_batches=mini_batches)
    assert [sorted(order[rank * share : (rank + 1) * share]) for rank in range(ranks)] == [
        list(range(rank * share, (rank + 1) * share)) for rank in range(ranks)
    ]
    counts = padding_per_mini_batch(padding, order, ranks, mini_batches)
    assert max(counts) - min(counts) <= 1
    real = [row for row in order if not padding[row]]
    assert real == sorted(real)


def test_a_batch_without_padding_keeps_its_order() -> None:
    assert spread_padding([False] * 12, ranks=2, mini_batches=3) == list(range(12))


def test_rows_that_the_ranks_cannot_share_are_a_fault_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        spread_padding([True] * 10, ranks=4, mini_batches=1)
