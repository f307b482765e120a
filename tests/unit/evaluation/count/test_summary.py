"""A run in numbers: means by hand, unfinished runs said to be so, trees beside independent sampling."""

from pathlib import Path

import pytest
from evaluation_run import call, graded, plan, sample, tree_sample, write_run

from treepo.evaluation import BenchmarkPlan, Sample, StoredRun
from treepo.evaluation.count.arms import compare_arms
from treepo.evaluation.count.summary import summarise, union_seconds
from treepo.tree import FinishReason

BOTH = {"sums": BenchmarkPlan(questions=2, weight=30), "more": BenchmarkPlan(questions=1, weight=10)}


@pytest.fixture
def run(tmp_path: Path) -> StoredRun:
    samples = [*graded("q0", "++"), *graded("q1", "-?"), *graded("q0", "+-", benchmark="more")]
    return write_run(tmp_path, plan(benchmarks=BOTH), samples)


def test_accuracy_by_benchmark_and_overall_weighted_and_not(run: StoredRun) -> None:
    summary = summarise(run)
    sums, more = summary.scores
    assert (sums.benchmark, sums.questions, sums.samples, sums.least, sums.weight) == ("sums", 2, 4, 2, 30)
    assert (sums.accuracy.value, more.accuracy.value) == (0.5, 0.5)
    assert {k: found.value for k, found in sums.pass_at.items()} == {1: 0.5, 2: 0.5}
    assert {k: found.value for k, found in more.pass_at.items()} == {1: 0.5, 2: 1.0}
    assert more.majority_at[2].value == 0.5
    (overall,) = summary.overall
    assert (overall.weighted.value, overall.unweighted.value, overall.complete) == (0.5, 0.5, True)


def test_weights_decide_the_overall_score(tmp_path: Path) -> None:
    samples = [*graded("q0", "++"), *graded("q1", "++"), *graded("q0", "--", benchmark="more")]
    (overall,) = summarise(write_run(tmp_path, plan(benchmarks=BOTH), samples)).overall
    assert overall.weighted.value == pytest.approx(30 / 40)
    assert overall.unweighted.value == pytest.approx(1 / 2)


def test_lengths_and_rates(tmp_path: Path) -> None:
    samples = [
        sample("q0", 0, tokens=10),
        sample("q0", 1, tokens=20, finish=FinishReason.MAX_TOKENS, repetition=True),
        sample("q1", 0, tokens=30, finish=FinishReason.MAX_DEPTH, answer=None, correct=False, verdict="no_answer"),
        sample("q1", 1, tokens=100, finish=FinishReason.REPETITION, repetition=True),
    ]
    (scores,) = summarise(write_run(tmp_path, plan(), samples)).scores
    assert (scores.tokens, scores.lengths.mean, scores.lengths.p50, scores.lengths.longest) == (160, 40.0, 25.0, 100)
    assert (scores.truncated, scores.repetition, scores.unanswered) == (0.5, 0.5, 0.25)
    assert scores.verdicts == {"exact": 3, "no_answer": 1}
    assert scores.finishes == {"eos": 1, "max_tokens": 1, "max_depth": 1, "repetition": 1}


def test_an_unfinished_run_says_so_and_uses_what_every_question_has(tmp_path: Path) -> None:
    run = write_run(tmp_path, plan(samples=4, benchmarks=BOTH), [*graded("q0", "+++-"), *graded("q1", "-")])
    summary = summarise(run)
    (scores,) = summary.scores
    assert (scores.samples, scores.samples_planned, scores.least, scores.complete) == (5, 8, 1, False)
    assert scores.accuracy.value == pytest.approx(3 / 8)
    assert list(scores.pass_at) == [1]
    assert not summary.overall[0].complete


def test_a_finished_benchmark_does_not_finish_the_run(tmp_path: Path) -> None:
    run = write_run(tmp_path, plan(benchmarks=BOTH), [*graded("q0", "++"), *graded("q1", "++")])
    summary = summarise(run)
    assert summary.scores[0].complete
    assert not summary.overall[0].complete


def test_a_run_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no sample yet"):
        summarise(write_run(tmp_path, plan(), []))


def test_the_numbers_are_the_same_every_time_and_in_any_order(tmp_path: Path) -> None:
    samples = [*graded("q0", "+-a+", sampling="independent"), *graded("q1", "+--?")]
    first = summarise(write_run(tmp_path / "one", plan(samples=4), samples))
    second = summarise(write_run(tmp_path / "two", plan(samples=4), sorted(samples, key=lambda one: -one.index)))
    assert first.scores[0].accuracy == second.scores[0].accuracy
    assert first.scores[0].pass_at == second.scores[0].pass_at
    assert first.overall == second.overall


def test_seeds_stand_beside_each_other_by_benchmark_and_overall(tmp_path: Path) -> None:
    samples = [
        *graded("q0", "++--"),  # seed 0 right, seed 1 wrong
        *graded("q1", "+-+-"),
        *graded("q0", "++++", benchmark="more"),
    ]
    summary = summarise(write_run(tmp_path, plan(samples=4, seeds=2, benchmarks=BOTH), samples))
    sums, more = summary.scores
    assert sums.seeds is not None
    assert sums.seeds.means == pytest.approx((0.75, 0.25))
    assert sums.seeds.mean == sums.accuracy.value == pytest.approx(0.5)
    assert sums.seeds.deviation == pytest.approx(0.5 / 2**0.5)
    assert more.seeds is not None
    assert more.seeds.deviation == 0
    (overall,) = summary.overall
    assert overall.seeds is not None
    assert overall.seeds.means == pytest.approx(((30 * 0.75 + 10) / 40, (30 * 0.25 + 10) / 40))
    # Independent samples are independent whatever their seed.
    assert sums.pass_at[4].value == pytest.approx(1.0)
    assert sums.pass_at_apart == {}
    assert sums.nested is not None
    assert sums.nested.high - sums.nested.low > 0


def grown(question: str, marks: str) -> list[Sample]:
    """Trees of two trajectories each, side by side."""
    return [
        tree_sample(index, [(1, 2), (2 + index % 2, 2)], question, correct=mark == "+", tree=index // 2)
        for index, mark in enumerate(marks)
    ]


def test_the_curves_of_trees_are_of_one_tree_then_of_whole_ones_and_of_trajectories_apart(tmp_path: Path) -> None:
    two = plan(samples=4, seeds=2, samplings=("tree d=2",))
    (scores,) = summarise(write_run(tmp_path, two, [*grown("q0", "+---"), *grown("q1", "++--")])).scores
    # Of one tree: q0 1/4, 1/2; q1 1/2, 1/2. Of both: each has one.
    assert {k: found.value for k, found in scores.pass_at.items()} == pytest.approx({1: 3 / 8, 2: 1 / 2, 4: 1.0})
    # One of each tree: q0 1/2, q1 1.
    assert {k: found.value for k, found in scores.pass_at_apart.items()} == pytest.approx({1: 3 / 8, 2: 3 / 4})
    assert scores.g_pass_at[2]["1"].value == pytest.approx((0 + 1 / 2) / 2)
    assert scores.nested is not None


def test_a_single_tree_has_no_nested_interval_and_no_trajectories_apart(tmp_path: Path) -> None:
    one = plan(samplings=("tree d=2",))
    (scores,) = summarise(write_run(tmp_path, one, [*grown("q0", "+-"), *grown("q1", "--")])).scores
    assert (scores.nested, scores.pass_at_apart) == (None, {})
    assert scores.seeds is not None
    assert scores.seeds.deviation is None


def test_wall_time_is_the_union_of_the_calls() -> None:
    calls = [call(started=start, seconds=seconds) for start, seconds in ((0, 4), (1, 1), (3, 3), (10, 2))]
    assert union_seconds(calls) == pytest.approx(6 + 2)
    assert union_seconds([]) == 0


def arms_run(folder: Path) -> StoredRun:
    samples = [
        *graded("q0", "+-", tokens=100),
        *graded("q1", "--", tokens=100),
        tree_sample(0, [(1, 60), (2, 60)]),
        tree_sample(1, [(1, 60), (3, 60)]),
        tree_sample(0, [(1, 60), (2, 60)], "q1"),
        tree_sample(1, [(1, 60), (3, 60)], "q1"),
    ]
    calls = [
        call(started=0, seconds=10, accelerator_seconds=80, trajectories=2, tokens_generated=200),
        call(started=5, seconds=15, accelerator_seconds=120, trajectories=2, tokens_generated=200),
        call(
            sampling="tree d=2", started=50, seconds=15, accelerator_seconds=120, trajectories=4, tokens_generated=360
        ),
    ]
    return write_run(folder, plan(samplings=("independent", "tree d=2")), samples, calls)


def test_speed_is_over_the_wall_time(tmp_path: Path) -> None:
    cost = summarise(arms_run(tmp_path)).scores[0].cost
    assert cost is not None
    assert (cost.seconds, cost.accelerator_seconds, cost.tokens_generated) == (20, 200, 400)
    assert (cost.trajectories_per_second, cost.tokens_per_second) == pytest.approx((0.2, 20))


def test_trees_beside_independent_sampling(tmp_path: Path) -> None:
    independent, tree = compare_arms(summarise(arms_run(tmp_path)))
    assert (independent.sampling, tree.sampling) == ("independent", "tree d=2")
    assert independent.accelerator_hours == pytest.approx(200 / 3600)
    assert (independent.hours_saved, independent.generated_ratio, independent.length_ratio) == (None, None, None)
    assert independent.generated_over_contained == pytest.approx(1.0)
    assert tree.hours_saved == pytest.approx(1 - 120 / 200)
    assert tree.generated_over_contained == pytest.approx(360 / 480)
    assert tree.generated_ratio == pytest.approx(360 / 400)
    assert tree.length_ratio == pytest.approx(120 / 100)
    assert dict(tree.accuracies) == {"sums": 1.0}


def test_savings_are_per_trajectory_where_an_arm_is_unfinished(tmp_path: Path) -> None:
    calls = [
        call(accelerator_seconds=100, trajectories=4, tokens_generated=16),
        call(sampling="tree d=2", accelerator_seconds=20, trajectories=1, tokens_generated=4),
    ]
    samples = [*graded("q0", "++"), *graded("q1", "++"), tree_sample(0, [(1, 4)])]
    run = write_run(tmp_path, plan(samplings=("tree d=2", "independent")), samples, calls)
    independent, tree = compare_arms(summarise(run))
    assert (independent.complete, tree.complete) == (True, False)
    assert tree.hours_saved == pytest.approx(0.2)


def test_without_calls_nothing_is_said_about_time(tmp_path: Path) -> None:
    run = write_run(tmp_path, plan(), graded("q0", "++"))
    (arm,) = compare_arms(summarise(run))
    assert (arm.accelerator_hours, arm.hours_saved, arm.generated_over_contained) == (None, None, None)
