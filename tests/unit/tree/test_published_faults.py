"""Faults of published implementations that must not come back, one test each.

Those of the configuration (options read under other names or overwritten) are in ``tests/unit/config/test_options.py``.
"""

import random
from typing import Any

import pytest
from scripted_trees import by_request, decode, grow, grow_with_history, make_sampler, segment, texts, trajectory

from treepo.config import FallbackConfig
from treepo.config.policies import CutPosition, FallbackCandidates
from treepo.tree import FinishReason
from treepo.tree.allocation import allocate_evenly
from treepo.tree.fallback import Candidate, cut_position, order_candidates


def test_an_end_of_sequence_token_at_the_start_of_a_segment_is_seen():
    tree = grow(make_sampler(width=2, initial_divergence=(1, 1)), by_request({0: "abcd", 1: "$", 2: "$"}))
    assert [finished.reason for finished in tree.trajectories] == [FinishReason.EOS, FinishReason.EOS]
    assert texts(tree) == ["abcd$", "abcd$"]


def test_the_remainder_of_an_even_split_does_not_go_to_one_path():
    for seed in range(50):
        assert sorted(allocate_evenly(15, 8, random.Random(seed))) == [1, 2, 2, 2, 2, 2, 2, 2]


def test_an_open_number_of_windows_does_not_raise_in_the_draw():
    options = FallbackConfig(max_back=None)
    rng = random.Random(0)
    drawn = {cut_position(options, trajectory("abcdefghij"), segment_length=4, max_depth=9, rng=rng) for _ in range(99)}
    assert drawn == {0, 4, 8}


def test_strict_order_takes_answered_first_and_repetition_last():
    reasons = [FinishReason.REPETITION, FinishReason.ANSWERED, FinishReason.MAX_TOKENS]
    finished = [
        Candidate(index=index, trajectory=trajectory("abcd", reason=reason), open_answer=False)
        for index, reason in enumerate(reasons)
    ]
    options = FallbackConfig(candidates=FallbackCandidates.BY_REASON)
    ordered = order_candidates(options, finished, window=4, rng=random.Random(0))
    assert [entry.index for entry in ordered] == [1, 2, 0]


def test_cutting_the_last_token_keeps_the_others():
    # Cutting by a negative slice would, for nothing cut off, wipe the whole response.
    tree, history = grow_with_history(
        make_sampler(width=2, initial_divergence=(1, 1), fallback={"cut": "lowest_logprob"}),
        by_request({0: "ab|$", 1: "c$"}),
    )
    assert history[1].prefix == "ab"
    assert texts(tree) == ["ab|$", "abc$"]


def test_nothing_but_the_rules_draws_from_the_stream():
    def grown(look: bool) -> Any:
        sampler = make_sampler(width=8, seed=5, fallback={"window": 1})
        requests = sampler.start()
        while requests:
            answers = [
                segment(request, "abc$" if request.id % 2 else "abcd"[: request.max_tokens]) for request in requests
            ]
            requests = []
            for answer in answers:
                if look:
                    # What a log line or a metric would read, and somebody else's randomness.
                    assert repr(sampler)
                    assert not sampler.done
                    random.seed(answer.request_id)
                    random.random()
                requests += sampler.receive(answer)
        return sampler.tree()

    assert grown(look=False) == grown(look=True)


def test_a_global_seed_does_not_matter():
    trees = []
    for seed in (0, 1):
        random.seed(seed)
        trees.append(grow(make_sampler(width=8, fallback={"window": 1}), lambda request: "abc$"))
    assert trees[0] == trees[1]


def test_paths_share_their_nodes_as_objects():
    tree = grow(make_sampler(), lambda request: "wxyz")
    first, second = tree.trajectories[:2]
    assert first.nodes[0] is second.nodes[0]


def test_prompts_do_not_wait_for_each_other():
    slow, quick = make_sampler(prompt_id="slow"), make_sampler(prompt_id="quick")
    waiting = slow.start()
    assert len(grow(quick, lambda request: "wxyz").trajectories) == 4
    assert [slow.receive(segment(request, "wxyz")) == [] for request in waiting] == [True, False]


def test_a_path_that_continues_is_said_to_continue():
    _, history = grow_with_history(make_sampler(), lambda request: "wxyz")
    assert [entry.request.continues for entry in history] == [False, False, True, False, True, False, *[True] * 4]


@pytest.mark.parametrize("cut", [cut for cut in CutPosition if cut is not CutPosition.BLOCK])
@pytest.mark.parametrize("total", ["trajectories", "response_tokens"])
def test_nothing_finished_yet_is_no_error(cut: str, total: str):
    # The only trajectory is dropped: no candidate, no mean length.
    budget: dict[str, Any] = {"total": total}
    if total == "response_tokens":
        budget |= {"response_tokens": 8, "min_width": 1}
    script = {0: "a$", 1: "b$", 2: "bcd$", 3: "bcd$"}
    sampler = make_sampler(width=2, min_trajectory_length=3, fallback={"cut": cut}, budget=budget)
    tree = grow(sampler, by_request(script))
    assert decode(tree.trajectories[0].tokens) == "bcd$"
