"""Whole small trees, drawn: ramps, shares of a budget, allocation by log-probability, token budgets.

Segments of 4 characters, depth 3, width 4, divergence 2 unless the test says otherwise.
"""

from typing import Any

import pytest
from scripted_trees import assert_tree, drawing, filled, grow, grow_with_history, make_sampler, picture


def test_a_ramp_forks_late():
    # Wanted at depths 1 to 5: 2, 3, 4, 5, 6.
    _, history = grow_with_history(make_sampler(width=6, max_depth=5, divergence={"budget": "ramp"}), filled({}))
    steps = [entry.step for entry in history]
    assert [steps.count(step) for step in range(1, 6)] == [2, 3, 4, 5, 6]


def test_a_ramp_is_as_far_as_the_deepest_active_path():
    # One path ends in the first window and two in the second; each is cut before its `z` and grown again, so that
    # windows 3, 4 and 4 come next. The ramp from 1 to 8 wants all 8 at depth 4, and 3 trajectories are there.
    _, history = grow_with_history(
        make_sampler(
            width=8,
            max_depth=4,
            max_divergence=1,
            initial_divergence=(2, 2),
            divergence={"budget": "ramp"},
            fallback={"cut": "lowest_logprob", "window": 1},
        ),
        filled({0: "az$", 1: "abcd", 2: "ez$", 3: "ez$"}),
    )
    assert sorted(entry.prefix for entry in history if entry.step == 3) == ["a", "abcde", "abcde"]
    assert sum(entry.step == 4 for entry in history) == 8 - 3


def test_allocation_by_log_prob_forks_the_less_probable_path():
    script = {0: "aaaa", 1: "zzzz"}
    options: dict[str, Any] = {"width": 4, "max_depth": 2}
    by_logprob = {"allocation": "logprob", "logprob": {"temperature": 1.0, "prefer": "low"}}
    assert_tree(
        """
        ?
        ├─ aaaa
        │  └─ wxyz max_tokens
        └─ zzzz
           ├─ wxyz max_tokens
           ├─ wxyz max_tokens
           └─ wxyz max_tokens
        """,
        script,
        divergence=by_logprob,
        **options,
    )
    assert_tree(
        """
        ?
        ├─ aaaa
        │  ├─ wxyz max_tokens
        │  └─ wxyz max_tokens
        └─ zzzz
           ├─ wxyz max_tokens
           └─ wxyz max_tokens
        """,
        script,
        divergence={**by_logprob, "transfer": False},
        **options,
    )


@pytest.mark.parametrize(("score", "forked"), [("sum", 1), ("mean", 0), ("last_segment", 1)])
def test_scores_look_at_the_path_or_at_its_last_segment(score: str, forked: int):
    # Sums: -122 - 97 and -218 - 98; means: -109.5 and -105.3; last segments: -97 and -98.
    _, history = grow_with_history(
        make_sampler(
            width=3,
            divergence={
                "budget": "ramp",
                "allocation": "logprob",
                "logprob": {"score": score, "prefer": "low", "temperature": 0.1},
            },
        ),
        filled({0: "z", 1: "mm", 2: "a", 3: "b"}),
    )
    assert [entry.request.parent_request for entry in history if entry.step == 3 and not entry.request.continues] == [
        2 + forked
    ]


def test_a_schedule_reads_the_progress_of_the_training():
    schedule = {"schedule": "ascending", "min_temperature": 1e-3, "max_temperature": 1e6}
    options: dict[str, Any] = {
        "max_depth": 2,
        "divergence": {"allocation": "logprob", "logprob": schedule},
    }
    forks = []
    for progress in (0.0, 1.0):
        tree = grow(make_sampler(training_progress=progress, **options), filled({0: "aaaa", 1: "zzzz"}))
        forks.append(sorted(trajectory.path.node_ids[0] for trajectory in tree.trajectories))
    assert forks == [[1, 2, 2, 2], [1, 1, 2, 2]]


def test_step_tokens_are_asked_for_at_every_step():
    counts = iter([1, 4, 4])
    sampler = make_sampler(
        width=8,
        active_prompts=lambda: next(counts),
        divergence={"budget": "step_tokens", "step_tokens": 16},
        fallback={"cut": "none"},
    )
    _, history = grow_with_history(sampler, filled({}))
    steps = [entry.step for entry in history]
    # 16 tokens are 4 segments for one prompt; shared by four prompts they are 1, but all four paths continue.
    assert next(counts) == 4, "the last step forks nothing and asks for nothing"
    assert [steps.count(step) for step in (1, 2, 3)] == [2, 4, 4]


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
