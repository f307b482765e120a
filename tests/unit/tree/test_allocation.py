"""Step 4 of the sampler: how the paths of a step are shared out."""

import itertools
import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_trees import trajectory

from treepo.config import LogProbAllocationConfig
from treepo.config.policies import LogProbScore, Preference
from treepo.tree.allocation import PathScores, allocate_by_score, allocate_evenly, softmax, temperature


@given(st.integers(1, 12), st.integers(0, 30), st.integers(0, 2**32))
def test_an_even_split_is_as_equal_as_possible(active: int, extra: int, seed: int):
    children = allocate_evenly(active + extra, active, random.Random(seed))
    assert sum(children) == active + extra
    assert max(children) - min(children) <= 1


def test_what_is_left_over_falls_on_distinct_random_paths():
    rng = random.Random(0)
    lucky = Counter(index for _ in range(3000) for index, n in enumerate(allocate_evenly(8, 6, rng)) if n == 2)
    assert all(900 < lucky[index] < 1100 for index in range(6))


def by_score(total: int, scores: list[float], **options: object) -> list[int]:
    given = {"prefer": Preference.HIGH, "temperature": 1.0, "most": None, **options}
    return allocate_by_score(total, scores, **given)  # pyright: ignore[reportArgumentType]


def test_every_path_gets_one_and_the_rest_goes_by_probability():
    scores = [math.log(0.5), math.log(0.25), math.log(0.25)]
    assert by_score(7, scores) == [3, 2, 2]
    assert by_score(11, scores) == [5, 3, 3]
    assert by_score(3, scores) == [1, 1, 1]


def test_the_largest_remainders_round_up():
    # Of 5 the shares are 2.5, 1.5 and 1.0; of 3 they are 1.8, 0.9 and 0.3.
    assert by_score(8, [math.log(0.5), math.log(0.3), math.log(0.2)]) == [4, 2, 2]
    assert by_score(6, [math.log(0.6), math.log(0.3), math.log(0.1)]) == [3, 2, 1]


def test_preferring_low_turns_the_order_round():
    assert by_score(6, [-1.0, -9.0], prefer=Preference.HIGH) == [5, 1]
    assert by_score(6, [-1.0, -9.0], prefer=Preference.LOW) == [1, 5]
    scores = [math.log(0.5), math.log(0.3), math.log(0.2)]
    for total in range(3, 30):
        opposite = by_score(total, [-score for score in scores], prefer=Preference.LOW)
        assert opposite == by_score(total, scores, prefer=Preference.HIGH)


def test_a_high_temperature_makes_it_even_and_a_low_one_greedy():
    assert by_score(10, [-1.0, -9.0], temperature=1e6) == [5, 5]
    assert by_score(10, [-1.0, -1.1], temperature=1e-6) == [9, 1]
    # Divided by the temperature: shares 3/4 and 1/4 of 8.
    assert by_score(10, [math.log(9.0), 0.0], temperature=2.0) == [7, 3]


def test_no_path_gets_more_than_allowed_and_the_others_take_the_rest():
    assert by_score(6, [0.0, -50.0, -60.0], most=2) == [2, 2, 2]
    assert by_score(5, [0.0, -50.0, -60.0], most=2) == [2, 2, 1]
    assert by_score(3, [0.0, -50.0, -60.0], most=1) == [1, 1, 1]
    assert by_score(8, [0.0, -1e9, -2e9], most=4) == [4, 3, 1]


@given(
    st.lists(st.integers(-1000, 0).map(float), min_size=1, max_size=10),
    st.integers(1, 5),
    st.floats(0, 1),
    st.sampled_from([1e-6, 1.0, 1e6]),
    st.booleans(),
)
def test_allocation_by_score_adds_up(scores: list[float], most: int, share: float, heat: float, capped: bool):
    total = len(scores) + int(share * (most - 1) * len(scores))
    children = by_score(total, scores, temperature=heat, most=most if capped else None)
    assert sum(children) == total
    assert min(children) >= 1
    assert not capped or max(children) <= most
    ranked = sorted(range(len(scores)), key=scores.__getitem__)
    for lower, higher in itertools.pairwise(ranked):
        assert scores[lower] == scores[higher] or children[lower] <= children[higher]


def test_softmax_is_a_distribution_at_any_size():
    assert softmax([0.0, math.log(3)]) == pytest.approx([0.25, 0.75])
    assert softmax([-1e9, 0.0]) == [0.0, 1.0]
    assert softmax([1e9, 1e9]) == [0.5, 0.5]


def test_scores_are_sum_mean_or_last_segment():
    path = trajectory("ab", "c", log_probs=[-1.0, -2.0, -6.0]).nodes
    scores = PathScores()
    assert scores.score(path, LogProbScore.SUM) == -9.0
    assert scores.score(path, LogProbScore.MEAN) == -3.0
    assert scores.score(path, LogProbScore.LAST_SEGMENT) == -6.0
    assert scores.score(path[:1], LogProbScore.LAST_SEGMENT) == -1.5


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("ascending", [1.0, 1 + 2 * (1 - math.sqrt(0.5)) / 2, 2.0, 3.0]),
        ("descending", [3.0, 3 - 2 * (1 - math.sqrt(0.5)) / 2, 2.0, 1.0]),
    ],
)
def test_schedules_are_half_a_sine_between_their_ends(schedule: str, expected: list[float]):
    options = LogProbAllocationConfig.model_validate(
        {"schedule": schedule, "min_temperature": 1.0, "max_temperature": 3.0}
    )
    assert [temperature(options, progress) for progress in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(expected)


def test_a_constant_temperature_does_not_look_at_the_training():
    assert temperature(LogProbAllocationConfig(temperature=0.7), None) == 0.7
