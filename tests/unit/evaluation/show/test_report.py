"""report.md, results.json and the command line: the numbers of the run, and refusals in one line."""

import json
import re
from pathlib import Path

import pytest
from evaluation_run import call, graded, plan, tree_sample, write_run
from typer.testing import CliRunner

from treepo.evaluation import StoredRun
from treepo.evaluation.__main__ import app
from treepo.evaluation.show.report import write_report

TREE_PROBS = (-1.0, -0.5, -2.0, -0.25)


def small_run(folder: Path, *, marks: str = "+-") -> StoredRun:
    samples = [
        *graded("q0", marks, log_probs=(-0.5, -0.25, -0.125, -1.0)),
        *graded("q1", "++"),
        tree_sample(0, [(1, 2), (2, 2)], log_probs=TREE_PROBS),
        tree_sample(1, [(1, 2), (3, 2)], log_probs=TREE_PROBS),
        tree_sample(0, [(1, 4)], "q1"),
        tree_sample(1, [(2, 4)], "q1"),
    ]
    calls = [
        call(seconds=4, accelerator_seconds=36, trajectories=4, tokens_generated=16),
        call(sampling="tree d=2", started=200, seconds=2, accelerator_seconds=18, trajectories=4, tokens_generated=14),
    ]
    return write_run(folder, plan(samplings=("independent", "tree d=2")), samples, calls)


def test_the_report_holds_the_published_comparison_and_every_table(tmp_path: Path) -> None:
    text = write_report(small_run(tmp_path), tmp_path).markdown.read_text()
    for line in (
        "# Evaluation of tiny",
        "| sampling | sums | overall | accelerator hours | hours saved | decoded / in trajectories | "
        "decoded / independent | length / independent |",
        "| independent | 75.0 | 75.0 [50.0, 100.0] | 0.01 | – | 1.000 | – | – |",
        "| tree d=2 | 100.0 | 100.0 [100.0, 100.0] | 0.005 | 50% | 0.875 | 0.875 | 1.000 |",
        "| sums | independent | 75.0 [50.0, 100.0] | 100.0 [100.0, 100.0] |",
        "| sums | independent | 4.0 | 4 | 4 | 4 | 4 | 0.0% | 0.0% | 0.0% |",
        "| all | tree d=2 | 2 | 7 | 2.0 | 18.0 | 14 |",
        "| sums | independent | exact | 4 | 100.0% |",
        "## Log-probability at forks, tree d=2",
    ):
        assert line in text, line
    assert "not complete" not in text
    plots = re.findall(r"!\[.+\]\((plots/.+\.svg)\)", text)
    assert len(plots) == 5
    assert all((tmp_path / plot).read_text().startswith("<svg") for plot in plots)


def test_questions_that_were_left_out_are_counted_in_the_report(tmp_path: Path) -> None:
    made = write_run(tmp_path, plan(options={"too_long": {"sums": ["q7", "q9"]}}), graded("q0", "++"))
    report = write_report(made, tmp_path)
    line = "Left out, since their prompts are too long: 2 of sums."
    assert line in report.markdown.read_text()
    assert line in report.page.read_text()


def test_every_table_of_the_report_is_markdown(tmp_path: Path) -> None:
    blocks = write_report(small_run(tmp_path), tmp_path).markdown.read_text().split("\n\n")
    tables = [block.splitlines() for block in blocks if block.startswith("|")]
    assert len(tables) == 11
    for head, line, *rows in tables:
        assert set(line) <= set("|- ")
        assert {row.count(" | ") for row in (line, *rows)} == {head.count(" | ")}
        assert rows


def test_text_cannot_break_out_of_a_cell(tmp_path: Path) -> None:
    nasty = "a|b\n<img src=x>"
    run = write_run(tmp_path, plan(samples=1), graded("q0", "+", verdict=nasty))
    text = write_report(run, tmp_path).markdown.read_text()
    assert "| sums | independent | a\\|b &lt;img src=x> | 1 | 100.0% |" in text


def test_the_results_are_json_with_a_schema_and_the_plan(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    report = write_report(run, tmp_path / "out")
    results = json.loads(report.results.read_text())
    assert list(results) == ["schema", "fingerprint", "plan", "complete", "scores", "overall", "arms", "log_probs"]
    assert (results["schema"], results["complete"]) == (1, True)
    assert results["fingerprint"] == json.loads((tmp_path / "run.json").read_text())["fingerprint"]
    assert results["plan"]["options"]["lengths"] == {"prompt": 64, "response": 128}
    first = results["scores"][0]
    assert first["accuracy"] == {"value": 0.75, "low": 0.5, "high": 1.0}
    assert (first["pass_at"]["2"]["value"], first["cost"]["tokens_per_second"]) == (1.0, 4.0)
    assert [part["sampling"] for part in results["log_probs"]] == ["independent", "tree d=2"]


def test_an_unfinished_run_says_so_everywhere(tmp_path: Path) -> None:
    report = write_report(write_run(tmp_path, plan(), graded("q0", "+")), tmp_path)
    assert "not complete" in report.markdown.read_text()
    assert "not complete" in report.page.read_text()
    assert json.loads(report.results.read_text())["complete"] is False


def test_a_report_is_the_same_every_time(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    first, second = write_report(run, tmp_path / "a"), write_report(run, tmp_path / "b")
    for name in ("report.md", "report.html", "results.json", "plots/accuracy.svg"):
        assert (first.page.parent / name).read_bytes() == (second.page.parent / name).read_bytes(), name


def test_the_command_reports_and_compares(tmp_path: Path) -> None:
    small_run(tmp_path / "a")
    small_run(tmp_path / "b", marks="++")
    shell = CliRunner()
    made = shell.invoke(app, ["report", str(tmp_path / "a")])
    assert made.exit_code == 0, made.output
    for name in ("report.md", "report.html", "results.json", "samples/sums.parquet"):
        assert (tmp_path / "a" / name).is_file(), name
    arguments = ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c")]
    compared = shell.invoke(app, arguments)
    assert compared.exit_code == 0, compared.output
    text = (tmp_path / "c" / "comparison.md").read_text()
    assert "| sums | 2 | 75.0 | 100.0 | +25.0 [+0.0, +50.0] |" in text
    assert "| sums | q0 | 1/2 | 2/2 | +50.0 | wrong to right |" in text
    assert json.loads((tmp_path / "c" / "comparison.json").read_text())["differences"][0]["difference"]["value"] == 0.25


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report", "nothing"], "error: nothing holds no evaluation: nothing/run.json is missing"),
        (["compare", "nothing", "nothing"], "error: nothing holds no evaluation"),
    ],
)
def test_refusals_are_one_line(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(words)
    assert result.stderr.count("\n") == 1
