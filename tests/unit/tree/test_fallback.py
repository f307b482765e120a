"""Step 5 of the sampler: which finished trajectories are cut, in which order, and where."""

import random
from collections import Counter
from typing import Any

import pytest
from scripted_trees import log_probs_of, trajectory

from treepo.config import FallbackConfig
from treepo.config.policies import FallbackCandidates
from treepo.tree import FinishReason
from treepo.tree.fallback import Candidate, cut_position, order_candidates, reason_weight, share_out

REASONS = [
    FinishReason.REPETITION,
    FinishReason.MAX_TOKENS,
    FinishReason.MAX_DEPTH,
    FinishReason.EOS,
    FinishReason.ANSWERED,
]


def candidate(index: int, reason: FinishReason, text: str = "abcd", open_answer: bool = False) -> Candidate:
    return Candidate(index=index, trajectory=trajectory(text, reason=reason), open_answer=open_answer)


FINISHED = [candidate(index, reason) for index, reason in enumerate(REASONS)]


def orders(
    policy: str, finished: list[Candidate], *, draws: int = 200, window: int = 4, min_windows: int = 1
) -> Counter[tuple[int, ...]]:
    rng = random.Random(0)
    long_answers = policy == "answered_min_windows"
    options = FallbackConfig(candidates=FallbackCandidates(policy), min_windows=min_windows if long_answers else None)
    return Counter(
        tuple(entry.index for entry in order_candidates(options, finished, window=window, rng=rng))
        for _ in range(draws)
    )


def test_answered_or_eos_takes_only_those_in_random_order():
    assert set(orders("answered_or_eos", FINISHED)) == {(3, 4), (4, 3)}


def test_any_takes_all_in_random_order():
    counts = orders("any", FINISHED, draws=12_000)
    assert len(counts) == 120
    assert all(60 < count < 145 for count in counts.values())


def test_by_reason_takes_the_best_first():
    finished = [*FINISHED, candidate(5, FinishReason.MAX_DEPTH, open_answer=True)]
    assert set(orders("by_reason", finished)) == {(4, 5, 3, 2, 1, 0)}


def test_by_reason_is_random_among_equals():
    finished = [candidate(index, FinishReason.EOS) for index in range(2)] + [candidate(2, FinishReason.ANSWERED)]
    assert set(orders("by_reason", finished)) == {(2, 0, 1), (2, 1, 0)}


def test_reasons_weigh_seven_to_two():
    assert [reason_weight(entry) for entry in FINISHED] == [2, 3, 4, 5, 7]
    assert reason_weight(candidate(0, FinishReason.EOS, open_answer=True)) == 6
    assert reason_weight(candidate(0, FinishReason.MAX_TOKENS, open_answer=True)) == 6
    assert reason_weight(candidate(0, FinishReason.REPETITION, open_answer=True)) == 2


def test_by_reason_soft_draws_by_these_weights():
    counts = orders("by_reason_soft", [FINISHED[4], FINISHED[0]], draws=9000)
    assert counts[(4, 0)] == pytest.approx(7000, abs=150)
    assert counts[(0, 4)] == pytest.approx(2000, abs=150)


def test_longer_first_draws_by_length():
    finished = [candidate(index, FinishReason.EOS, text) for index, text in enumerate(["a", "ab", "abc"])]
    counts = orders("longer_first", finished, draws=6000)
    # The first by weight 1, 2, 3 of 6; behind a first 2 the weights are 1 and 2 of 3.
    assert counts[(2, 1, 0)] == pytest.approx(6000 * 3 / 6 * 2 / 3, abs=150)
    assert counts[(0, 1, 2)] == pytest.approx(6000 * 1 / 6 * 2 / 5, abs=100)


def test_answered_min_windows_takes_long_answers_only():
    lengths = ["abc", "abcd", "abcdefgh"]
    finished = [candidate(index, FinishReason.ANSWERED, text) for index, text in enumerate(lengths)]
    finished.append(candidate(3, FinishReason.EOS, "abcdefgh"))
    assert set(orders("answered_min_windows", finished, window=4)) == {(1, 2), (2, 1)}
    assert set(orders("answered_min_windows", finished, window=4, min_windows=2)) == {(2,)}
    assert set(orders("answered_min_windows", finished, window=3, min_windows=2)) == {(2,)}
    assert set(orders("answered_min_windows", finished, window=5, min_windows=2)) == {()}


@pytest.mark.parametrize("policy", list(FallbackCandidates))
def test_without_finished_trajectories_there_is_no_candidate(policy: str):
    assert set(orders(policy, [], draws=1)) == {()}


@pytest.mark.parametrize(
    ("remaining", "candidates", "divergence", "shares"),
    [(5, 4, 2, [2, 2, 1]), (4, 4, 2, [2, 2]), (9, 2, 3, [3, 3]), (1, 3, 4, [1]), (3, 3, 1, [1, 1, 1])],
)
def test_candidates_get_a_full_divergence_each_until_none_remains(
    remaining: int, candidates: int, divergence: int, shares: list[int]
):
    assert share_out(remaining, candidates, divergence) == shares


def cuts(text: str, *, draws: int = 2000, segment_length: int = 4, max_depth: int = 9, **options: Any) -> Counter[int]:
    log_probs = options.pop("log_probs", log_probs_of(text))
    rng = random.Random(0)
    finished = trajectory(text, log_probs=log_probs)
    config = FallbackConfig.model_validate(options)
    return Counter(
        cut_position(config, finished, segment_length=segment_length, max_depth=max_depth, rng=rng)
        for _ in range(draws)
    )


def uniform(counts: Counter[int]) -> bool:
    mean = counts.total() / len(counts)
    return all(0.8 * mean < count < 1.2 * mean for count in counts.values())


def test_a_random_cut_is_a_uniform_multiple_of_the_segment():
    counts = cuts("abcdefghij")
    assert set(counts) == {0, 4, 8}
    assert uniform(counts)


def test_at_least_one_window_is_cut_off_also_a_full_one():
    assert set(cuts("abcdefgh")) == {0, 4}
    assert set(cuts("abcd")) == {0}


def test_max_back_bounds_the_windows_cut_off():
    assert set(cuts("abcdefghij", max_back=1)) == {8}
    counts = cuts("abcdefghij", max_back=2)
    assert set(counts) == {4, 8}
    assert uniform(counts)
    assert set(cuts("abcdefghij", max_back=50)) == {0, 4, 8}


def test_a_window_of_its_own_cuts_inside_segments():
    assert set(cuts("abcdefghij", window=3)) == {0, 3, 6, 9}


@pytest.mark.parametrize("cut", ["random", "lowest_logprob", "block", "from_start"])
def test_a_trajectory_shorter_than_one_window_restarts_at_the_root(cut: str):
    block = {"block_size": 1} if cut == "block" else {}
    assert set(cuts("abz", cut=cut, **block)) == {0}
    assert set(cuts("abczd", cut=cut, segment_length=6, **block)) == {0}


def test_the_lowest_log_prob_is_cut_away_with_all_behind_it():
    assert set(cuts("abczdef", cut="lowest_logprob")) == {3}
    assert set(cuts("zabcdef", cut="lowest_logprob")) == {0}
    assert set(cuts("abcdefz", cut="lowest_logprob")) == {6}
    assert set(cuts("abzcdzf", cut="lowest_logprob")) == {2}, "the first of equals"


def test_a_block_is_drawn_by_its_mean_log_prob():
    # Means -1, -3 and, of the short block at the end, -2.
    log_probs = [-1.0, -1.0, -2.0, -4.0, -2.0]
    draws = 20_000
    low = cuts("abcde", cut="block", block_size=2, log_probs=log_probs, draws=draws)
    high = cuts("abcde", cut="block", block_size=2, block_prefer="high", log_probs=log_probs, draws=draws)
    shares = {1: 0.0900, 2: 0.2447, 3: 0.6652}
    for start, rank in ((0, 1), (2, 3), (4, 2)):
        assert low[start] / draws == pytest.approx(shares[rank], abs=0.01)
        assert high[start] / draws == pytest.approx(shares[4 - rank], abs=0.01)


def test_from_start_keeps_nothing():
    assert set(cuts("abcdefghij", cut="from_start")) == {0}


@pytest.mark.parametrize(
    ("position", "max_depth", "expected"), [(8, 4, 8), (9, 4, 9), (10, 4, 9), (11, 4, 9), (11, 5, 11), (3, 1, 0)]
)
def test_a_cut_leaves_room_for_one_more_window(position: int, max_depth: int, expected: int):
    text = "a" * position + "z" + "a" * (11 - position)
    assert set(cuts(text, cut="lowest_logprob", segment_length=3, max_depth=max_depth)) == {expected}
