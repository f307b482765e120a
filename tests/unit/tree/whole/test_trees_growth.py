"""Whole small trees, drawn: starting, ending, passing shares on.

Segments of 4 characters, depth 3, width 4, divergence 2 unless the test says otherwise.
"""

from scripted_trees import assert_tree, by_request, encode, filled, grow, grow_with_history, make_sampler

from treepo.tree import FinishReason, Segment


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
    asked = [
        (entry.request.id, entry.prefix, entry.request.parent_request, entry.request.continues) for entry in history[:6]
    ]
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
    ends = [(trajectory.finish_step, trajectory.path.node_ids) for trajectory in tree.trajectories]
    assert ends == [(1, (2,)), (2, (1, 4)), (2, (1, 5)), (3, (1, 3, 6))]


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


def test_width_can_be_set_for_one_prompt():
    tree = grow(make_sampler(width=4, width_override=1), filled({}))
    assert len(tree.trajectories) == 1
    assert grow(make_sampler(width_override=6), filled({})).stats.segments == 2 + 4 + 6


def test_the_end_of_sequence_is_seen_by_token_or_by_the_engine():
    for text, stopped in (("ab$", False), ("abc", True), ("$", False), ("a", True)):
        sampler = make_sampler(width_override=1)
        (request,) = sampler.start()
        segment = Segment(request_id=request.id, tokens=encode(text), log_probs=[0.0] * len(text), stopped=stopped)
        assert sampler.receive(segment) == []
        assert sampler.tree().trajectories[0].reason is FinishReason.EOS


def test_engine_counts_are_added_up():
    sampler = make_sampler(width=2, max_depth=2)
    # Request 3 computes more again than any request computed at first.
    engine = {0: (10, 4), 1: (10, 2), 2: (0, 0), 3: (14, 1)}
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
    # The prompt was first computed by the request that computed most of it, 8 tokens; the rest again, 6 and 13.
    assert (stats.prefix_tokens, stats.cached_tokens, stats.recomputed_tokens) == (34, 7, 19)
