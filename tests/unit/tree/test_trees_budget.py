"""Whole small trees, drawn: dropped trajectories and token budgets.

Segments of 4 characters, depth 3, width 4, divergence 2 unless the test says otherwise.
"""

from scripted_trees import assert_tree, drawing, filled, grow, grow_with_history, make_sampler, picture


def test_a_trajectory_that_is_too_short_gives_its_place_back():
    tree = grow(
        make_sampler(width=2, max_depth=2, min_trajectory_length=3), filled({0: "a$", 1: "abc$", 2: "b$", 3: "cde$"})
    )
    assert picture(tree) == drawing("""
        ?
        ├─ abc$ eos
        └─ cde$ eos
        """)
    assert (tree.stats.dropped, tree.stats.tokens_generated, tree.stats.tokens_in_trajectories) == (2, 12, 8)


def test_the_share_of_a_dropped_path_passes_on_too():
    assert_tree(
        """
        ?
        └─ abcd
           ├─ efg$ eos
           ├─ hij$ eos
           ├─ klm$ eos
           └─ nop$ eos
        """,
        {0: "a$", 1: "abcd", 2: "efg$", 3: "hij$", 4: "klm$", 5: "nop$"},
        min_trajectory_length=3,
    )


def test_a_prompt_hands_on_a_trajectory_even_without_fallback():
    assert_tree(
        """
        ?
        └─ abc$ eos
        """,
        {0: "a$", 1: "b$", 2: "abc$"},
        min_trajectory_length=3,
        fallback={"cut": "none"},
    )


def test_a_token_budget_ends_the_prompt_when_no_room_is_left():
    # 25 tokens: two of 4 leave room for four more; they take 12 each, which is beyond the budget.
    tree, history = grow_with_history(
        make_sampler(width=8, budget={"total": "response_tokens", "response_tokens": 25, "min_width": 2}),
        filled({0: "abc$", 1: "abc$"}),
    )
    steps = [entry.step for entry in history]
    assert [steps.count(step) for step in (1, 2)] == [2, 4]
    assert len(tree.trajectories) == 6


def test_a_token_budget_narrows_the_tree_while_it_grows():
    # 34 tokens at 4 + 4 each: four paths fit, though the width is 8.
    _, history = grow_with_history(
        make_sampler(
            width=8, max_divergence=3, budget={"total": "response_tokens", "response_tokens": 34, "min_width": 2}
        ),
        filled({}),
    )
    steps = [entry.step for entry in history]
    assert [steps.count(step) for step in (1, 2, 3)] == [3, 4, 4]
