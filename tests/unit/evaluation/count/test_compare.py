"""Two runs question by question: differences by hand, the p-value, flips, what cannot be compared."""

from pathlib import Path

import numpy as np
import pytest
from evaluation_run import graded, plan, write_run

from treepo.config import ConfigError
from treepo.evaluation import BenchmarkPlan, Sample, StoredRun
from treepo.evaluation.count.compare import Flip, compare_runs, paired_p_value

NEITHER = (None, None)


def run(folder: Path, samples: list[Sample], **fields: object) -> StoredRun:
    return write_run(folder, plan(**fields), samples)


def test_differences_and_flips_by_hand(tmp_path: Path) -> None:
    first = run(tmp_path / "a", [*graded("q0", "+-"), *graded("q1", "++"), *graded("q2", "++"), *graded("q9", "++")])
    second = run(tmp_path / "b", [*graded("q0", "++"), *graded("q1", "++"), *graded("q2", "--")])
    comparison = compare_runs(first, second, NEITHER)
    (sums,) = comparison.differences
    assert (sums.name, sums.questions) == ("sums", 3)
    assert (sums.before, sums.after, sums.difference.value) == pytest.approx((5 / 6, 2 / 3, -1 / 6))
    assert comparison.weighted.difference == comparison.unweighted.difference == sums.difference
    assert [(change.question, change.difference, change.flip) for change in comparison.changes] == [
        ("q2", -1.0, Flip.LOST),
        ("q0", 0.5, Flip.GAINED),  # half of the samples is not more than half
    ]
    assert comparison.unpaired == {"sums": 1}


def test_the_bootstrap_is_paired(tmp_path: Path) -> None:
    # Every question gains exactly one of two samples: however unlike the questions are, the difference has no spread.
    marks = ["--"] * 5 + ["+-"] * 5
    better = ["+-"] * 5 + ["++"] * 5
    first = run(tmp_path / "a", [one for number, m in enumerate(marks) for one in graded(f"q{number}", m)])
    second = run(tmp_path / "b", [one for number, m in enumerate(better) for one in graded(f"q{number}", m)])
    difference = compare_runs(first, second, NEITHER).weighted.difference
    assert (difference.value, difference.low, difference.high) == (0.5, 0.5, 0.5)


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    same = run(tmp_path, [*graded("q0", "+-"), *graded("q1", "--")])
    comparison = compare_runs(same, same, NEITHER)
    assert comparison.weighted.difference.value == 0
    assert comparison.weighted.p_value == 1.0
    assert comparison.changes == ()


def test_the_p_value_by_hand() -> None:
    assert paired_p_value(np.array([1.0] * 98 + [-1.0])) == pytest.approx(2 * 2 / 100)
    assert paired_p_value(np.full(1999, 0.1)) == pytest.approx(2 / 2000)
    assert paired_p_value(np.zeros(10)) == 1.0


def test_the_p_value_is_uniform_where_nothing_differs() -> None:
    draw = np.random.default_rng(0)
    values = []
    for _ in range(300):
        gaps = draw.normal(size=50)
        means = draw.multinomial(50, np.full(50, 1 / 50), size=400) @ gaps / 50
        values.append(paired_p_value(means))
    assert np.mean(np.array(values) < 0.05) == pytest.approx(0.05, abs=0.035)
    assert np.mean(np.array(values) < 0.5) == pytest.approx(0.5, abs=0.1)


def test_the_second_runs_weights_make_the_overall_difference(tmp_path: Path) -> None:
    both = {"sums": BenchmarkPlan(questions=1, weight=3), "more": BenchmarkPlan(questions=1, weight=1)}
    first = run(tmp_path / "a", [*graded("q0", "--"), *graded("q0", "--", benchmark="more")], benchmarks=both)
    second = run(tmp_path / "b", [*graded("q0", "++"), *graded("q0", "--", benchmark="more")], benchmarks=both)
    comparison = compare_runs(first, second, NEITHER)
    assert comparison.weighted.difference.value == pytest.approx(0.75)
    assert comparison.unweighted.difference.value == pytest.approx(0.5)


def test_a_run_can_be_compared_with_itself_under_another_sampling(tmp_path: Path) -> None:
    both = run(
        tmp_path,
        [*graded("q0", "--"), *graded("q0", "++", sampling="tree d=2")],
        samplings=("independent", "tree d=2"),
    )
    assert compare_runs(both, both, NEITHER).weighted.difference.value == 0
    comparison = compare_runs(both, both, (None, "tree d=2"))
    assert comparison.weighted.difference.value == 1
    assert comparison.names[1].endswith("tiny, tree d=2")


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    trees = run(tmp_path / "a", graded("q0", "++", sampling="tree d=2"), samplings=("tree d=2", "tree d=4"))
    other = run(tmp_path / "b", graded("q1", "++"))
    with pytest.raises(ConfigError, match="has several samplings; name one of tree d=2, tree d=4"):
        compare_runs(trees, other, NEITHER)
    with pytest.raises(ConfigError, match=r"has no sampling 'tree d=2'; it has independent"):
        compare_runs(trees, other, ("tree d=2", "tree d=2"))
    with pytest.raises(ConfigError, match="have no question in common"):
        compare_runs(trees, other, ("tree d=2", None))
