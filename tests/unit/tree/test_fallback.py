"""Step 5 of the sampler: which finished trajectories are cut, and in which order."""

import random
from collections import Counter

import pytest
from scripted_trees import trajectory

from treepo.config import FallbackConfig
from treepo.config.policies import FallbackCandidates
from treepo.tree import FinishReason
from treepo.tree.fallback import Candidate, order_candidates, reason_weight, share_out

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
    options = FallbackConfig(candidates=FallbackCandidates(policy), min_windows=min_windows)
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
