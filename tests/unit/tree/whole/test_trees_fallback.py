"""Whole small trees, drawn: cutting and growing again.

Segments of 4 characters, depth 3, width 4, divergence 2 unless the test says otherwise.
"""

import pytest
from scripted_trees import assert_tree, by_request, drawing, filled, grow, grow_with_history, make_sampler, picture


def test_a_fallback_cuts_a_window_and_grows_again():
    assert_tree(
        """
        ?
        └─ abcd
           ├─ efg$ eos
           ├─ hi$ eos
           └─ wxyz
              └─ wxyz max_tokens
        """,
        {0: "abcd", 1: "efg$", 2: "hi$"},
        width=3,
        max_divergence=1,
        fallback={"max_back": 1},
    )


def test_a_cut_inside_a_segment_splits_its_node_for_every_path_through_it():
    # The root's `abzd` is cut at its least probable token, with three paths through it.
    assert_tree(
        """
        ?
        └─ ab
           ├─ zd
           │  ├─ e$ eos
           │  └─ f$ eos
           ├─ g$ eos
           └─ h$ eos
        """,
        {0: "abzd", 1: "e$", 2: "f$", 3: "g$", 4: "h$"},
        initial_divergence=(1, 1),
        fallback={"cut": "lowest_logprob"},
    )


def test_a_second_cut_splits_what_a_first_one_left():
    # Windows of 3 in segments of 4; the first cut is behind 6 tokens, the next behind 3 of the same trajectory or of
    # the one that grew there.
    assert_tree(
        """
        ?
        └─ abcd
           └─ ef
              ├─ g$ eos
              ├─ hi$ eos
              └─ wxyz max_depth
        """,
        {0: "abcd", 1: "efg$", 2: "hi$"},
        width=3,
        max_divergence=1,
        fallback={"max_back": 1, "window": 3},
    )


@pytest.mark.parametrize(("seed", "first", "second"), [(2, "12", "34"), (4, "34", "12")])
def test_two_candidates_of_one_fallback_may_be_cut_in_the_same_node(seed: int, first: str, second: str):
    # Cut behind 6 and behind 3 of the same 8 tokens, in this order and in the other.
    assert_tree(
        f"""
        ?
        └─ abc
           ├─ def
           │  ├─ gh
           │  │  ├─ $ eos
           │  │  └─ $ eos
           │  ├─ {first[0]}$ eos
           │  └─ {first[1]}$ eos
           ├─ {second[0]}$ eos
           └─ {second[1]}$ eos
        """,
        {0: "abcdefgh", 1: "$", 2: "$", 3: "1$", 4: "2$", 5: "3$", 6: "4$"},
        width=6,
        segment_length=8,
        initial_divergence=(1, 1),
        fallback={"window": 3, "max_back": 2},
        seed=seed,
    )


def test_a_window_begun_counts_as_depth_after_a_cut():
    # Cut behind 5 tokens: two windows of 4 are begun, so one segment is left of three.
    assert_tree(
        """
        ?
        └─ abcd
           └─ e
              ├─ zg$ eos
              └─ wxyz max_depth
        """,
        {0: "abcd", 1: "ezg$"},
        width=2,
        max_divergence=1,
        max_response_length=100,
        fallback={"cut": "lowest_logprob"},
    )


def test_a_cut_inside_a_box_remembers_that_the_box_is_open():
    # Cut before the `~`, behind `2`: the brace that closes the box comes from the new segment.
    assert_tree(
        r"""
        ?
        └─ \boxed{1
           └─ 2
              ├─ ~$ eos
              └─ }$ answered
        """,
        {0: r"\boxed{1", 1: "2~$", 2: "}$"},
        width=2,
        segment_length=8,
        max_divergence=1,
        fallback={"cut": "lowest_logprob"},
    )


def test_a_split_leaves_shorter_trajectories_alone():
    assert_tree(
        """
        ?
        ├─ bcde
        │  └─ f
        │     ├─ zg$ eos
        │     └─ h$ eos
        └─ a$ eos
        """,
        {0: "bcde", 1: "a$", 2: "fzg$", 3: "h$"},
        width=3,
        initial_divergence=(2, 2),
        max_divergence=1,
        divergence={"transfer": False},
        fallback={"cut": "lowest_logprob"},
        seed=0,
    )


@pytest.mark.parametrize("seed", range(10))
def test_an_open_answer_comes_before_a_mere_end(seed: int):
    script = {0: "abcd$", 1: r"\boxed{5$", 2: r"\boxed{}$", 3: "i$", 4: "j$"}
    _, history = grow_with_history(
        make_sampler(
            width=5,
            segment_length=9,
            max_divergence=1,
            initial_divergence=(3, 3),
            fallback={"candidates": "by_reason", "cut": "lowest_logprob", "window": 1},
            seed=seed,
        ),
        by_request(script),
    )
    # The answered one is cut before its `}`, the open one before its `{`.
    assert [entry.prefix for entry in history if entry.step == 2] == [r"\boxed{", r"\boxed"]


def test_only_long_answers_are_candidates_where_asked_for():
    script = {0: r"\boxed{5}$", 1: r"a\boxed{5}b$", 2: "c$", 3: "d$"}
    _, history = grow_with_history(
        make_sampler(
            segment_length=12,
            max_divergence=1,
            initial_divergence=(2, 2),
            fallback={"candidates": "answered_min_windows", "min_windows": 3, "window": 4, "max_back": 1},
        ),
        by_request(script),
    )
    assert [entry.prefix for entry in history if entry.step > 1] == [r"a\boxed{"] * 2


def test_without_a_candidate_one_path_starts_afresh():
    tree, history = grow_with_history(
        make_sampler(termination={"repetition": {"substring": 2, "count": 2}}),
        filled({0: "abab", 1: "cdcd", 2: "ab$", 3: "xy$"}),
    )
    assert [(entry.step, entry.prefix) for entry in history] == [(1, ""), (1, ""), (2, ""), (3, "")]
    assert [trajectory.from_fallback for trajectory in tree.trajectories] == [False, False, True, True]


def test_from_start_takes_one_candidate_only():
    _, history = grow_with_history(make_sampler(width=8, fallback={"cut": "from_start"}), lambda request: "ab$")
    assert [entry.step for entry in history] == [1, 1, 2, 2, 3, 3, 4, 4]


def test_cut_none_ends_the_prompt_below_its_width():
    tree = grow(make_sampler(fallback={"cut": "none"}), by_request({0: "abc$", 1: "efg$"}))
    assert picture(tree) == drawing("""
        ?
        ├─ abc$ eos
        └─ efg$ eos
        """)
    assert tree.stats.fallbacks == 0


def test_new_paths_from_a_cut_are_forks_and_those_from_the_root_are_not():
    script = {0: "az$", 1: "b$", 2: "c$"}
    options = {"width": 3, "max_divergence": 2, "initial_divergence": (1, 1)}
    for fallback, forks in (({"cut": "lowest_logprob", "window": 1}, 2), ({"cut": "from_start"}, 0)):
        tree = grow(make_sampler(fallback=fallback, **options), by_request(script))
        assert (tree.stats.forks, tree.stats.fallbacks) == (forks, 1)
