"""Every tree, under any configuration and any engine, keeps the invariants of `random_trees.check_tree`."""

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from random_trees import check_tree, random_answer, random_sampler, tree_options
from scripted_trees import grow_with_history

SEEDS = st.integers(0, 2**32)


@given(options=tree_options(), max_response_length=st.integers(1, 30), seed=SEEDS)
def test_any_tree_keeps_the_invariants(options: dict[str, Any], max_response_length: int, seed: int):
    sampler = random_sampler({**options, "seed": seed}, max_response_length)
    tree, history = grow_with_history(sampler, random_answer(seed))
    check_tree(sampler, tree, history)


@given(options=tree_options(), max_response_length=st.integers(1, 30), seed=SEEDS, order=st.integers(0, 2**32))
def test_the_order_of_arrival_changes_nothing(options: dict[str, Any], max_response_length: int, seed: int, order: int):
    trees = [
        grow_with_history(random_sampler(options, max_response_length), random_answer(seed), shuffle)
        for shuffle in (None, random.Random(order))
    ]
    assert trees[0][0] == trees[1][0]
