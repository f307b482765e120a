"""Whole small trees, drawn. Segments of 4 characters, depth 3, width 4, divergence 2 unless the test says otherwise."""

from typing import Any

import pytest
from scripted_trees import Answer, by_request, drawing, encode, grow, grow_with_history, make_sampler, picture

from treepo.tree import FinishReason, Segment, SegmentRequest


def filled(script: dict[int, str]) -> Answer:
    """Answers by request; those not named get a full segment without an end."""

    def answer(request: SegmentRequest) -> str:
        return script.get(request.id, "wxyz")[: request.max_tokens]

    return answer


def assert_tree(expected: str, script: dict[int, str], **options: Any) -> None:
    assert picture(grow(make_sampler(**options), filled(script))) == drawing(expected)


def test_without_an_end_the_tree_doubles_to_its_width_and_runs_full():
    assert_tree(
        """
        ?
        ├─ wxyz
        │  ├─ wxyz
        │  │  └─ wxyz max_tokens
        │  └─ wxyz
        │     └─ wxyz max_tokens
        └─ wxyz
           ├─ wxyz
           │  └─ wxyz max_tokens
           └─ wxyz
              └─ wxyz max_tokens
        """,
        {},
    )


def test_requests_of_a_step_follow_their_parents_and_the_first_continues():
    _, history = grow_with_history(make_sampler(), filled({0: "abcd", 1: "efgh"}))
    asked = [(entry.request.id, entry.prefix, entry.request.parent, entry.request.continues) for entry in history[:6]]
    assert asked == [
        (0, "", None, False),
        (1, "", None, False),
        (2, "abcd", 0, True),
        (3, "abcd", 0, False),
        (4, "efgh", 1, True),
        (5, "efgh", 1, False),
    ]


def test_trajectories_come_in_the_order_in_which_they_finish():
    script = {0: "abcd", 1: "ef$", 2: "ghij", 3: "k$", 4: "l$", 5: "m$"}
    tree = grow(make_sampler(), by_request(script))
    ends = [(trajectory.finish_step, trajectory.node_ids) for trajectory in tree.trajectories]
    assert ends == [(1, [2]), (2, [1, 4]), (2, [1, 5]), (3, [1, 3, 6])]


def test_a_path_that_ends_passes_its_share_on():
    assert_tree(
        """
        ?
        ├─ ab$ eos
        └─ abcd
           ├─ efg$ eos
           ├─ hij$ eos
           └─ klm$ eos
        """,
        {0: "ab$", 1: "abcd", 2: "efg$", 3: "hij$", 4: "klm$"},
    )


def test_without_transfer_the_share_is_lost_and_a_fallback_fills_the_width():
    # The candidates are cut by one window, and each is shorter than two: all restart at the root.
    assert_tree(
        """
        ?
        ├─ ab$ eos
        ├─ abcd
        │  ├─ ef$ eos
        │  └─ gh$ eos
        └─ kl$ eos
        """,
        {0: "ab$", 1: "abcd", 2: "ef$", 3: "gh$", 4: "kl$"},
        divergence={"transfer": False},
        fallback={"cut": "from_start"},
    )


def test_the_response_is_cut_to_its_length_exactly():
    assert_tree(
        """
        ?
        ├─ wxyz
        │  └─ wxy max_tokens
        └─ wxyz
           └─ wxy max_tokens
        """,
        {},
        width=2,
        max_response_length=7,
    )


def test_a_path_ends_at_its_depth_even_with_short_segments():
    assert_tree(
        """
        ?
        ├─ a
        │  └─ b
        │     └─ c max_depth
        └─ d$ eos
        """,
        {0: "a", 1: "d$", 2: "b", 3: "c"},
        width=2,
        max_response_length=100,
    )


def test_answers_need_box_and_end_unless_the_box_is_enough():
    script = {0: r"\boxed{", 1: "5}.$", 2: "5}", 3: "$", 4: r"\boxed{6}$", 5: "$"}
    assert_tree(
        r"""
        ?
        ├─ \boxed{
        │  └─ 5}
        │     └─ $ answered
        └─ 5}.$ eos
        """,
        script,
        width=2,
        segment_length=9,
    )
    assert_tree(
        r"""
        ?
        ├─ \boxed{
        │  └─ 5} answered
        └─ 5}.$ eos
        """,
        script,
        width=2,
        segment_length=9,
        termination={"answer": "boxed"},
    )


def test_an_answer_in_two_segments_is_answered():
    assert_tree(
        r"""
        ?
        └─ \boxed{3
           ├─ }{}$ answered
           └─ 4$ eos
        """,
        {0: r"\boxed{3", 1: "}{}$", 2: "4$"},
        width=2,
        segment_length=8,
        max_divergence=2,
        initial_divergence=(1, 1),
    )


def test_a_repetition_across_a_boundary_ends_the_path():
    assert_tree(
        """
        ?
        ├─ xaba
        │  └─ babx repetition
        └─ abc$ eos
        """,
        {0: "xaba", 1: "abc$", 2: "babx"},
        width=2,
        termination={"repetition": {"substring": 2, "count": 3}},
    )


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
            fallback={"candidates": "answered_min_segments", "min_segments": 3, "window": 4, "max_back": 1},
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


def test_a_ramp_forks_late():
    # Wanted at depths 1 to 5: 2, 3, 4, 5, 6.
    _, history = grow_with_history(make_sampler(width=6, max_depth=5, divergence={"budget": "ramp"}), filled({}))
    steps = [entry.step for entry in history]
    assert [steps.count(step) for step in range(1, 6)] == [2, 3, 4, 5, 6]


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
    assert [entry.request.parent for entry in history if entry.step == 3 and not entry.request.continues] == [
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
        forks.append(sorted(trajectory.node_ids[0] for trajectory in tree.trajectories))
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
    # 16 tokens are 4 segments for one prompt; shared by four prompts they are 1, but all four paths go on.
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


def test_width_can_be_set_for_one_prompt():
    tree = grow(make_sampler(width=4, width_override=1), filled({}))
    assert len(tree.trajectories) == 1
    assert grow(make_sampler(width_override=6), filled({})).stats.requests == 2 + 4 + 6


def test_the_end_of_sequence_is_seen_by_token_or_by_the_engine():
    for text, stopped in (("ab$", False), ("abc", True), ("$", False), ("a", True)):
        sampler = make_sampler(width_override=1)
        (request,) = sampler.start()
        segment = Segment(request_id=request.id, tokens=encode(text), log_probs=[0.0] * len(text), stopped=stopped)
        assert sampler.receive(segment) == []
        assert sampler.tree().trajectories[0].reason is FinishReason.EOS


def test_engine_counts_are_added_up():
    sampler = make_sampler(width=2, max_depth=2)
    engine = {0: (10, 4), 1: (10, 2), 2: (0, 0), 3: (14, 9)}
    requests = sampler.start()
    while requests:
        answers = [
            Segment(
                request_id=request.id,
                tokens=encode("wxyz"),
                log_probs=[0.0] * 4,
                stopped=False,
                prefix_tokens=engine[request.id][0],
                cached_tokens=engine[request.id][1],
            )
            for request in requests
        ]
        requests = [request for answer in answers for request in sampler.receive(answer)]
    stats = sampler.tree().stats
    # The prompt was first computed by the request that computed most of it, 8 tokens; the other 6 and the 5 were again.
    assert (stats.prefix_tokens, stats.cached_tokens, stats.recomputed_tokens) == (34, 15, 11)
