"""The learning benchmark's numbers: intervals, curves at equal budgets, and the page."""

import dataclasses
import math
import random
import re
import shutil
import statistics
from pathlib import Path

import pytest
from learning_runs import result
from training_run import ROOT

from benchmarks.learning import results
from benchmarks.learning.arms import GROUPS
from benchmarks.learning.show import curves, report, stats
from benchmarks.learning.show.plots import COLOURS
from benchmarks.learning.show.report import replace_block, write_report
from benchmarks.learning.tasks import LONG, WORDS, find_task

BEGIN, END = WORDS.markers

# --- statistics


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.7062), (4, 2.7764), (9, 2.2622), (200, 1.9719)])
def test_students_quantiles_are_those_of_the_tables(freedom: int, quantile: float) -> None:
    assert stats.t_quantile(0.975, freedom) == pytest.approx(quantile, abs=1e-3)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_interval_holds_the_truth_as_often_as_it_says_for_few_values(count: int) -> None:
    draw = random.Random(0)
    held = 0
    for _ in range(4000):
        one = stats.mean_interval([draw.gauss(3.0, 2.0) for _ in range(count)])
        held += one.low <= 3.0 <= one.high
    # Four standard errors of 4,000 draws.
    assert held / 4000 == pytest.approx(0.95, abs=0.014)


def test_the_interval_of_many_values_is_the_usual_one() -> None:
    draw = random.Random(1)
    values = [draw.gauss(0.0, 1.0) for _ in range(400)]
    one = stats.mean_interval(values)
    half = 1.966 * statistics.stdev(values) / 20
    assert one.mean == pytest.approx(statistics.fmean(values))
    assert one.high - one.mean == pytest.approx(half, rel=0.1)
    assert one.mean - one.low == pytest.approx(half, rel=0.1)


def test_degenerate_intervals_are_defined() -> None:
    assert math.isnan(stats.mean_interval([2.0]).low)
    assert not stats.mean_interval([2.0]).excludes_zero
    equal = stats.mean_interval([2.0, 2.0, 2.0])
    assert (equal.low, equal.mean, equal.high) == (2.0, 2.0, 2.0)
    assert equal.excludes_zero
    with pytest.raises(ValueError, match="needs values"):
        stats.mean_interval([])


def test_the_mean_of_a_curve_weighs_its_pieces_by_their_width() -> None:
    assert stats.mean_over([0, 10, 40], [20, 40, 40]) == pytest.approx((10 * 30 + 30 * 40) / 40)


def test_a_curve_is_read_between_its_points_and_never_beyond() -> None:
    assert stats.value_at([0, 10, 40], [20, 40, 10], 25) == pytest.approx(25)
    with pytest.raises(ValueError, match="outside the curve"):
        stats.value_at([0, 10], [20, 40], 10.5)


# --- curves


def test_all_curves_start_at_the_pooled_accuracy_of_the_one_model() -> None:
    built = curves.build_curves([result(accuracy=(0.2, 0.4, 0.6)), result("grpo", accuracy=(0.3, 0.4, 0.5))])
    assert built["treepo"][0].accuracy == pytest.approx((25, 40, 60))
    assert built["grpo"][0].accuracy == pytest.approx((25, 40, 50))
    assert built["grpo"][0].tokens == (0, 200, 400)
    assert built["grpo"][0].seconds == (0, 4, 8)


def test_the_first_step_counts_as_a_usual_one_since_workers_start_within_it() -> None:
    slow = dataclasses.replace(result(), seconds=[30.0, 2.0, 3.0, 4.0])
    assert curves.build_curves([slow])["treepo"][0].seconds == (0, 5, 12)


def test_arms_are_compared_at_the_budget_that_all_have_spent() -> None:
    built = curves.build_curves([result("grpo", tokens=50, seconds=4.0), result("treepo", tokens=100, seconds=1.0)])
    budget = curves.common_budget(built)
    assert (budget.tokens, budget.seconds) == (200, 4)
    cheap = curves.measure(built["grpo"][0], budget)
    dear = curves.measure(built["treepo"][0], budget)
    # The tokens of all four steps of one are those of two steps of the other; with the time it is the other way round.
    assert (cheap.at_tokens, dear.at_tokens) == pytest.approx((60, 40))
    assert (cheap.at_seconds, dear.at_seconds) == pytest.approx((30, 60))
    assert cheap.last == dear.last == pytest.approx(60)
    assert cheap.mean == pytest.approx((30 + 50) / 2)


def test_differences_are_taken_within_a_seed() -> None:
    runs = [result("treepo", seed, accuracy=(0.2, 0.4, 0.5 + 0.1 * seed)) for seed in (0, 1, 2)]
    others = [result("grpo", seed, accuracy=(0.2, 0.4, 0.45 + 0.1 * seed)) for seed in (1, 2, 3)]
    built = curves.build_curves([*runs, *others])
    compared = curves.compare(built["treepo"], built["grpo"], curves.common_budget(built))
    assert compared is not None
    difference, ahead = compared["last"]
    assert (difference.mean, difference.low, difference.high) == pytest.approx((5, 5, 5))
    assert (difference.count, ahead) == (2, 2)


def test_arms_without_a_common_seed_are_not_compared() -> None:
    built = curves.build_curves([result("treepo", 0), result("grpo", 1)])
    assert curves.compare(built["treepo"], built["grpo"], curves.common_budget(built)) is None


def test_runs_on_different_grids_are_refused() -> None:
    other = dataclasses.replace(result("grpo"), accuracy_steps=[0, 1, 4])
    with pytest.raises(ValueError, match="different steps"):
        curves.build_curves([result(), other])


def test_runs_of_different_studies_are_refused() -> None:
    with pytest.raises(ValueError, match="different studies"):
        curves.build_curves([result(), result("grpo", study="s2")])


def test_the_cost_to_reach_an_accuracy_is_read_off_the_mean_curves() -> None:
    # Tokens 0, 100, 200 against 0, 200, 400; the other's last accuracy, 50%, lies half way between 40% and 60%.
    runs = [result("treepo", seed, accuracy=(0.2, 0.4, 0.6), tokens=50) for seed in range(5)]
    others = [result("grpo", seed, accuracy=(0.2, 0.3, 0.5), tokens=100) for seed in range(5)]
    built = curves.build_curves([*runs, *others])
    read = curves.cost_to_reach(built["treepo"], built["grpo"], "tokens")
    assert read is not None
    assert (read.share, read.low, read.high) == pytest.approx((150 / 400,) * 3)
    assert read.count == 5
    behind = curves.cost_to_reach(built["grpo"], built["treepo"], "tokens")
    assert behind is not None
    assert (behind.share, behind.low, behind.high) == (math.inf,) * 3
    itself = curves.cost_to_reach(built["grpo"], built["grpo"], "seconds")
    assert itself is not None
    assert itself.share == pytest.approx(1)


def test_the_cost_to_reach_an_accuracy_has_the_spread_of_its_seeds() -> None:
    runs = [result("treepo", seed, accuracy=(0.2, 0.4, 0.5 + 0.1 * (seed % 2))) for seed in range(6)]
    others = [result("grpo", seed, accuracy=(0.2, 0.3, 0.5)) for seed in range(6)]
    built = curves.build_curves([*runs, *others])
    read = curves.cost_to_reach(built["treepo"], built["grpo"], "seconds")
    assert read is not None
    assert read.low < read.share < read.high <= 1
    few = curves.cost_to_reach({seed: built["treepo"][seed] for seed in range(4)}, built["grpo"], "seconds")
    assert few is not None
    assert math.isnan(few.low)
    assert few.count == 4
    assert curves.cost_to_reach({9: built["treepo"][0]}, built["grpo"], "seconds") is None


# --- the page


def test_the_page_keeps_its_words_and_is_the_same_when_drawn_again(tmp_path: Path) -> None:
    folder, page = tmp_path / "results", tmp_path / "page.md"
    for seed in (0, 1, 2):
        results.save(folder, result("grpo_packed", seed, accuracy=(0.2, 0.3, 0.4 + 0.01 * seed)))
        results.save(folder, result("treepo", seed, accuracy=(0.2, 0.4, 0.6 + 0.02 * seed), tokens=80))
    page.write_text(f"# Title\n\n{BEGIN}\nolder tables\n{END}\n\n## What it shows\n\nPlain words.\n")
    write_report(folder, page)
    text = page.read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\n")
    assert text.endswith(f"{END}\n\n## What it shows\n\nPlain words.\n")
    assert "older tables" not in text
    assert re.search(r"\| `grpo_packed`: [^|]+ \| 3 \| 41\.0 \[38\.5, 43\.5\] \|", text)
    assert re.search(r"\| `treepo` \| `grpo_packed` \| \+21\.0 \[\+18\.5, \+23\.5\] \(3/3\) \|", text)
    assert "**+" not in text
    assert "of 4 intervals" in text.lower()
    assert re.search(r"\| `treepo` \| .* \| 25% \|", text)
    assert "at 0 thousand tokens" in text
    assert "Ablations" not in text
    assert re.search(r"\| `treepo` \| 3 \| 0\.4\d \| 0\.5\d \|", text)
    assert "| `grpo_packed` | 3 | 1.00 | 1.00 |" in text
    for picture in re.findall(r"\]\(([^)]+\.png)\)", text):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    write_report(folder, page)
    assert page.read_text() == text


@pytest.mark.parametrize("in_process", [False, True])
def test_the_page_holds_the_stored_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: bool) -> None:
    task = find_task("words", in_process=in_process)
    folder, page = tmp_path / task.results.relative_to(ROOT), tmp_path / "docs/learning.md"
    folder.mkdir(parents=True)
    page.parent.mkdir()
    for stored in task.results.glob("*.json"):
        shutil.copy(stored, folder)
    shutil.copy(ROOT / "docs/learning.md", page)
    for draw in ("plot_curves", "plot_differences"):
        monkeypatch.setattr(report, draw, lambda *_: None)
    write_report(folder, page, task=task)
    assert page.read_text() == (ROOT / "docs/learning.md").read_text()


def test_the_tables_of_another_task_stand_on_the_same_page(tmp_path: Path) -> None:
    folder, page = tmp_path / "results", tmp_path / "page.md"
    results.save(folder, result("grpo", 0))
    begin, end = LONG.markers
    page.write_text(f"{BEGIN}\nof words\n{END}\n{begin}\n{end}\n")
    write_report(folder, page, task=LONG)
    text = page.read_text()
    assert text.startswith(f"{BEGIN}\nof words\n{END}\n{begin}\n\n## Long beginnings: the arms\n")
    assert "## Long beginnings: conditions" in text


def test_five_seeds_are_enough_for_bold(tmp_path: Path) -> None:
    folder, page = tmp_path / "results", tmp_path / "page.md"
    for seed in range(5):
        results.save(folder, result("tree_grpo", seed, accuracy=(0.2, 0.3, 0.4 + 0.01 * seed)))
        results.save(folder, result("treepo", seed, accuracy=(0.2, 0.4, 0.6 + 0.02 * seed)))
    page.write_text(f"{BEGIN}\n{END}\n")
    write_report(folder, page)
    assert re.search(r"\| `treepo` \| `tree_grpo` \| \*\*\+22\.0 \[", page.read_text())


def test_every_arm_of_a_plot_has_a_colour_of_its_own() -> None:
    assert len(set(COLOURS)) == len(COLOURS) > max(map(len, GROUPS.values()))


def test_ablations_stand_beside_what_the_paper_found(tmp_path: Path) -> None:
    folder, page = tmp_path / "results", tmp_path / "page.md"
    for seed in (0, 1):
        results.save(folder, result("treepo", seed))
        results.save(folder, result("rejection", seed, accuracy=(0.2, 0.3, 0.5)))
    page.write_text(f"{BEGIN}\n{END}\n")
    write_report(folder, page)
    assert re.search(r"\| `rejection` \| `treepo` \| .* \| rejection hurts \|", page.read_text())


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}"])
def test_a_page_without_its_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the page needs"):
        replace_block(text, "tables", WORDS.markers)


def test_a_report_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no results in"):
        write_report(tmp_path, tmp_path / "page.md")
