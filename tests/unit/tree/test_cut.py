"""Step 5 of the sampler: where a candidate is cut."""

import random
from collections import Counter
from typing import Any

import pytest
from scripted_trees import log_probs_of, trajectory

from treepo.config import FallbackConfig
from treepo.tree.cut import cut_position


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
    assert set(cuts("abczd", cut=cut, window=6, **block)) == {0}


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
