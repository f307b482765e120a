"""avg@k, pass@k, maj@k and their intervals: numbers by hand, and what must hold for any."""

from itertools import combinations
from math import comb

import numpy as np
import pytest
from evaluation_run import graded
from hypothesis import given
from hypothesis import strategies as st

from treepo.evaluation.count import metrics


def draws(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def votes(*marks: str) -> list[metrics.Classes]:
    return [metrics.vote_classes(graded("q", one)) for one in marks]


def test_pass_at_k_by_hand() -> None:
    # 4 samples, k = 2, C(4, 2) = 6 pairs: without a right one are 6, 3, 1, 0, 0 of them.
    found = metrics.pass_at_k([0, 1, 2, 3, 4], [4] * 5, 2)
    assert found.tolist() == pytest.approx([0, 1 / 2, 5 / 6, 1, 1])
    assert metrics.pass_at_k([1], [16], 8).tolist() == [0.5]
    assert metrics.pass_at_k([3, 1], [10, 5], 5).tolist() == pytest.approx([1 - 21 / 252, 1.0])


def test_average_by_hand() -> None:
    assert metrics.average([0, 1, 3], [4, 2, 4]).tolist() == [0, 0.5, 0.75]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=8))
def test_pass_at_k_is_a_chance_that_grows_with_k_from_the_average(pairs: list[tuple[int, int]]) -> None:
    correct = [right for right, _ in pairs]
    samples = [max(1, right + wrong) for right, wrong in pairs]
    curve = np.stack([metrics.pass_at_k(correct, samples, k) for k in range(1, min(samples) + 1)])
    np.testing.assert_allclose(curve[0], metrics.average(correct, samples))
    assert ((curve >= 0) & (curve <= 1)).all()
    assert (np.diff(curve, axis=0) >= -1e-12).all()


@given(st.integers(1, 7), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(samples: int, data: st.DataObject) -> None:
    right, k = data.draw(st.integers(0, samples)), data.draw(st.integers(1, samples))
    hits = sum(min(subset) < right for subset in combinations(range(samples), k))
    assert metrics.pass_at_k([right], [samples], k)[0] == pytest.approx(hits / comb(samples, k))


def test_g_pass_at_k_by_hand() -> None:
    # Of 6 samples 3 are right: of 20 triples 1, 9, 9, 1 hold 0, 1, 2, 3 right ones.
    found = {share: metrics.g_pass_at_k([3], [6], 3, share)[0] for share in (0.0, 1 / 3, 0.5, 2 / 3, 0.75, 1.0)}
    assert found == pytest.approx({0.0: 0.95, 1 / 3: 0.95, 0.5: 0.5, 2 / 3: 0.5, 0.75: 0.05, 1.0: 0.05})
    # Above one half of 3 is i from 3 to 3; of 4, i from 3 to 4.
    assert metrics.mean_g_pass_at_k([3], [6], 3)[0] == pytest.approx(2 / 3 * 0.05)
    pairs = [metrics.g_pass_at_k([4], [6], 4, share)[0] for share in (0.75, 1.0)]
    assert metrics.mean_g_pass_at_k([4], [6], 4)[0] == pytest.approx(2 / 4 * sum(pairs))


@given(st.integers(1, 7), st.sampled_from([0.0, 0.25, 0.5, 0.55, 0.75, 1.0]), st.data())
def test_g_pass_at_k_is_the_share_of_subsets_with_enough_right_ones(
    samples: int, share: float, data: st.DataObject
) -> None:
    right, k = data.draw(st.integers(0, samples)), data.draw(st.integers(1, samples))
    enough = [sum(one < right for one in subset) >= max(1, share * k) for subset in combinations(range(samples), k)]
    assert metrics.g_pass_at_k([right], [samples], k, share)[0] == pytest.approx(np.mean(enough))
    assert metrics.g_pass_at_k([right], [samples], k, 0.0) == pytest.approx(metrics.pass_at_k([right], [samples], k))


def test_a_share_in_floating_point_asks_for_no_more_than_it_is() -> None:
    assert 0.55 * 100 > 55
    assert metrics.g_pass_at_k([55], [100], 100, 0.55)[0] == 1


def test_what_g_pass_cannot_mean_is_refused() -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        metrics.g_pass_at_k([1], [2], 2, 1.5)
    with pytest.raises(ValueError, match="k=1 has none"):
        metrics.mean_g_pass_at_k([1], [2], 1)
    with pytest.raises(ValueError, match="k=3 must be between"):
        metrics.g_pass_at_k([1], [2], 3, 0.5)


def test_right_answers_are_one_vote_and_blank_ones_none() -> None:
    samples = graded("q", "+- ?+", answer=None)
    answers = ["2", "3", "  ", None, r"\frac{4}{2}"]
    spelt = [type(one)(**{**_fields(one), "answer": answer}) for one, answer in zip(samples, answers, strict=True)]
    assert metrics.vote_classes(spelt).tolist() == [0, 1, -1, -1, 0]
    other = graded("q", "---")
    same = [
        type(one)(**{**_fields(one), "answer": answer})
        for one, answer in zip(other, [r"\dfrac12", r"$\frac12$", "7"], strict=True)
    ]
    assert metrics.vote_classes(same).tolist() == [1, 1, 2]


def test_wrong_answers_vote_together_where_the_scorer_takes_them_for_equal() -> None:
    # The right one is most frequent by spelling, and not by value: half a metre in three spellings has as many votes.
    answers = [None, None, None, r"50\text{ cm}", r"0.5\text{ m}", r"\frac{1}{2}\text{ m}", r"50\text{ m}"]
    marked = graded("q", "+++----")
    samples = [
        type(one)(**{**_fields(one), "answer": answer or one.answer})
        for one, answer in zip(marked, answers, strict=True)
    ]
    classes = metrics.vote_classes(samples)
    assert classes.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert metrics.majority_at_k([classes], 7, draws())[0] == pytest.approx(0.5)


def _fields(sample: object) -> dict:
    return {name: getattr(sample, name) for name in sample.__dataclass_fields__}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("marks", "k", "wanted"),
    [
        ("++-", 3, 1.0),
        ("+--", 3, 0.0),
        ("+-", 2, 0.5),  # a tie of two
        ("+ab", 3, 1 / 3),  # a tie of three
        ("+???", 4, 1.0),  # those without an answer do not vote
        ("+??", 2, 2 / 3),  # pairs: +?, +?, ??
        ("????", 4, 0.0),
        ("----", 2, 0.0),
        ("++--", 3, 0.5),  # triples: two of ++-, two of +--
        ("++--", 2, 0.5),  # pairs: one ++, four ties, one --
    ],
)
def test_majority_by_hand(marks: str, k: int, wanted: float) -> None:
    assert metrics.majority_at_k(votes(marks), k, draws())[0] == pytest.approx(wanted)


@given(st.lists(st.text("+-?ab", min_size=5, max_size=5), min_size=1, max_size=5))
def test_majority_of_one_is_the_average_and_a_chance_for_any_k(marks: list[str]) -> None:
    chosen = votes(*marks)
    average = metrics.average([one.count("+") for one in marks], [5] * len(marks))
    np.testing.assert_allclose(metrics.majority_at_k(chosen, 1, draws()), average)
    for k in range(1, 6):
        found = metrics.majority_at_k(chosen, k, draws())
        assert ((found >= 0) & (found <= 1)).all()


def test_drawn_subsets_come_close_to_all_of_them_and_repeat_with_their_seed() -> None:
    marks = "+++++-----aaabb?"
    exact = metrics.majority_at_k(votes(marks), 4, draws(), subsets=comb(16, 4))[0]
    drawn = metrics.majority_at_k(votes(marks), 4, draws(3), subsets=comb(16, 4) - 1)[0]
    assert drawn == pytest.approx(exact, abs=0.03)
    assert drawn != exact
    assert drawn == metrics.majority_at_k(votes(marks), 4, draws(3), subsets=comb(16, 4) - 1)[0]


def test_drawn_subsets_have_k_samples() -> None:
    subsets = metrics._subsets(16, 5, 200, draws())
    assert subsets.shape == (200, 16)
    assert (subsets.sum(axis=1) == 5).all()
    assert 40 < subsets[:, 0].sum() < 85  # 62.5 expected


@pytest.mark.parametrize("k", [0, 3])
def test_a_k_above_the_samples_of_some_question_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"k={k} must be between 1 and the samples that every question has, 2"):
        metrics.pass_at_k([1, 1], [2, 4], k)
    with pytest.raises(ValueError, match=f"k={k} must be"):
        metrics.majority_at_k(votes("+-", "++++"), k, draws())


@pytest.mark.parametrize(("correct", "samples"), [([], []), ([1], [1, 2]), ([2], [1]), ([0], [0]), ([-1], [1])])
def test_impossible_counts_are_refused(correct: list[int], samples: list[int]) -> None:
    with pytest.raises(ValueError, match=r"one count per question|every question needs"):
        metrics.average(correct, samples)


def test_the_interval_is_that_of_a_binomial() -> None:
    # 100 questions, 30 solved: the mean's standard error is sqrt(0.3 * 0.7 / 100) = 0.0458.
    scores = np.array([1.0] * 30 + [0.0] * 70)
    found = metrics.estimate(scores, metrics.resample(100, draws(), resamples=20_000))
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - 1.96 * 0.0458, abs=0.012)
    assert found.high == pytest.approx(0.3 + 1.96 * 0.0458, abs=0.012)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    chances = draws(1)
    covered = 0
    for _ in range(300):
        scores = chances.binomial(8, 0.4, size=60) / 8
        found = metrics.estimate(scores, metrics.resample(60, chances, resamples=400))
        covered += found.low <= 0.4 <= found.high
    assert 0.9 <= covered / 300 <= 0.985


def test_overall_is_weighted_and_resampled_within_each_benchmark() -> None:
    scores = {"one": np.array([1.0, 1.0]), "other": np.array([0.0, 0.0, 0.0])}
    times = {name: metrics.resample(len(part), draws()) for name, part in scores.items()}
    found, means = metrics.weighted_estimate(scores, {"one": 30, "other": 90}, times)
    # Neither benchmark has any spread, so no resample has: questions never move between benchmarks.
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    assert means.shape == (metrics.RESAMPLES,)
    alike, _ = metrics.weighted_estimate(scores, {"one": 1, "other": 1}, times)
    assert alike.value == pytest.approx(0.5)


def test_the_k_of_a_report() -> None:
    assert metrics.sample_sizes(1) == [1]
    assert metrics.sample_sizes(16) == [1, 2, 4, 8, 16]
    assert metrics.sample_sizes(12) == [1, 2, 4, 8, 12]
