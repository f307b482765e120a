"""Tables that are there only where a run has what they show."""

from pathlib import Path

from evaluation_run import graded, plan, tree_sample, write_run

from treepo.evaluation import RunPlan, Sample
from treepo.evaluation.count.arms import compare_arms
from treepo.evaluation.count.summary import summarise
from treepo.evaluation.show.tables import Table, run_tables


def tables(folder: Path, of: RunPlan, samples: list[Sample]) -> dict[str, Table]:
    summary = summarise(write_run(folder, of, samples))
    return {table.title: table for table in run_tables(summary, compare_arms(summary), ())}


def grown(question: str, marks: str, width: int) -> list[Sample]:
    return [
        tree_sample(index, [(1, 2), (2 + index % width, 2)], question, correct=mark == "+", tree=index // width)
        for index, mark in enumerate(marks)
    ]


def test_seeds_have_a_table_with_each_of_them_and_both_intervals(tmp_path: Path) -> None:
    samples = [*graded("q0", "++--"), *graded("q1", "+-+-")]
    found = tables(tmp_path, plan(samples=4, seeds=2), samples)["Seeds"]
    benchmark, overall = found.rows
    assert benchmark[:4] == ("sums", "independent", "50.0 ± 35.4", "75.0 25.0")
    assert overall[:4] == ("overall, weighted", "independent", "50.0 ± 35.4", "75.0 25.0")
    assert benchmark[4] == "[50.0, 50.0]"  # both questions have the same average
    low, high = map(float, benchmark[5].strip("[]").split(", "))
    assert low < 50 < high


def test_trees_of_several_seeds_have_a_table_of_trajectories_apart(tmp_path: Path) -> None:
    of = plan(samples=4, seeds=2, samplings=("tree d=2",))
    found = tables(tmp_path, of, [*grown("q0", "+---", 2), *grown("q1", "++--", 2)])
    apart = found["pass@k, each trajectory of another tree"]
    assert apart.columns == ("benchmark", "sampling", "k = 1", "k = 2")
    assert apart.rows[0][3].startswith("75.0 [")
    assert "Seeds" in found


def test_g_pass_has_a_table_where_three_times_k_samples_are_there(tmp_path: Path) -> None:
    found = tables(tmp_path, plan(samples=6), [*graded("q0", "+++---"), *graded("q1", "++++++")])["G-Pass@k"]
    (row,) = found.rows
    # Of q0's 15 pairs 3 are right, 9 are half right.
    assert (row[2], row[3].split()[0], row[5].split()[0], row[6].split()[0]) == ("2", "90.0", "60.0", "60.0")


def test_one_seed_and_few_samples_have_none_of_them(tmp_path: Path) -> None:
    found = tables(tmp_path, plan(samples=4), [*graded("q0", "++--"), *graded("q1", "+-+-")])
    assert not {"Seeds", "G-Pass@k", "pass@k, each trajectory of another tree"} & set(found)
