"""A batch whose trees are packed keeps whole trees together, per mini-batch and rank, and spreads its padding."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treepo.tree import NodePath
from treepo.verl.rollout.rows import TreeFields
from treepo.verl.training.metrics import sort_packing_metrics
from treepo.verl.training.packing_order import packing_order

PROMPT = 10


def fields(node_ids: tuple[int, ...], node_lengths: tuple[int, ...]) -> TreeFields:
    return TreeFields(
        path=NodePath(node_ids=node_ids, node_lengths=node_lengths).plain(),
        node_versions=[(0, 0)] * len(node_ids),
        observed=[0] * len(node_ids),
        reason="eos",
        finish_step=0,
        from_fallback=False,
        tree_stats=None,
        turn_stats=None,
        tree_seconds=0.0,
    )


def batch(widths: list[int], padding: int, *, seed: int = 0) -> tuple[list[str], list[TreeFields], list[bool]]:
    """Trees of a shared node and one leaf per row, shuffled, with padding rows at the end."""
    rng = random.Random(seed)
    rows = [
        (f"prompt {tree}", fields((1, 2 + leaf), (4 * tree + 1, rng.randint(1, 9))), False)
        for tree, width in enumerate(widths)
        for leaf in range(width)
    ]
    rng.shuffle(rows)
    # verl copies a real row for its padding, so that its tree says nothing.
    rows += [("pad", rows[0][1], True)] * padding
    uids, paths, padded = zip(*rows, strict=True)
    return list(uids), list(paths), list(padded)


def ordered(widths: list[int], padding: int, *, ranks: int, mini_batches: int) -> tuple[list[list[list[str]]], float]:
    """The uids of every mini-batch's rows on every rank, and how uneven the ranks are."""
    uids, paths, padded = batch(widths, padding)
    order, imbalance = packing_order(
        uids, paths, prompt_lengths=[PROMPT] * len(uids), padding=padded, ranks=ranks, mini_batches=mini_batches
    )
    assert sorted(order) == list(range(len(uids)))
    size = len(uids) // ranks // mini_batches
    chunks = [[uids[row] for row in order[start : start + size]] for start in range(0, len(order), size)]
    return [chunks[mini_batch::mini_batches] for mini_batch in range(mini_batches)], imbalance


def test_trees_of_equal_width_are_whole_on_one_rank_in_one_mini_batch() -> None:
    cells, imbalance = ordered([4] * 8, 0, ranks=2, mini_batches=2)
    assert [[len(set(rank)) for rank in mini_batch] for mini_batch in cells] == [[2, 2], [2, 2]]
    assert 1 <= imbalance < 1.2


def test_where_a_rank_holds_less_than_a_tree_its_parts_stay_in_one_mini_batch() -> None:
    cells, _ = ordered([8] * 4, 0, ranks=4, mini_batches=2)
    for tree in range(4):
        holders = [at for at, mini_batch in enumerate(cells) if any(f"prompt {tree}" in rank for rank in mini_batch)]
        assert len(holders) == 1


@settings(deadline=None)
@given(
    widths=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    ranks=st.integers(1, 3),
    mini_batches=st.integers(1, 3),
)
def test_every_row_is_there_once_and_padding_is_spread_over_the_mini_batches(
    widths: list[int], ranks: int, mini_batches: int
) -> None:
    padding = -sum(widths) % (ranks * mini_batches)
    cells, imbalance = ordered(widths, padding, ranks=ranks, mini_batches=mini_batches)
    pads = [sum(uid == "pad" for rank in mini_batch for uid in rank) for mini_batch in cells]
    assert sum(pads) == padding
    assert max(pads) - min(pads) <= 1
    assert imbalance >= 1


def test_the_engines_counts_stand_under_treepo_with_the_share_of_tokens_computed() -> None:
    metrics = {"actor/packing/packed_tokens": 50.0, "actor/packing/row_tokens": 200.0, "actor/pg_loss": 1.0}
    sort_packing_metrics(metrics)
    assert metrics == {
        "treepo/packing/packed_tokens": 50.0,
        "treepo/packing/row_tokens": 200.0,
        "treepo/packing/token_ratio": pytest.approx(0.25),
        "actor/pg_loss": 1.0,
    }


def test_without_the_packed_engine_metrics_stay_as_they_are() -> None:
    metrics = {"actor/pg_loss": 1.0}
    sort_packing_metrics(metrics)
    assert metrics == {"actor/pg_loss": 1.0}
