"""Our verdicts beside lighteval's: the protocol to its environment, and every difference named with its reason."""

import subprocess
import sys
from pathlib import Path

import pytest
from evaluation_run import graded, plan, write_run

from benchmarks.against_lighteval.__main__ import main, table_rows
from benchmarks.against_lighteval.differences import Case, markdown, tabulate, why
from benchmarks.against_lighteval.environment import LIGHTEVAL, Asked, Judged, judge_all

STAND_IN = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    right = any(truth in asked["response"] for truth in asked["truths"])
    print(json.dumps({"right": right, "answers": ["3", asked["response"]], "truths": ["2", *asked["truths"]]}))
"""
"""Judges as lighteval's side does, by whether the right answer is in the response."""


def judged(right: bool, answers: tuple[str, ...] = ("3", "3"), truths: tuple[str, ...] = ("2", "2")) -> Judged:
    return Judged(right=right, answers=answers, truths=truths)


def case(ours: bool, theirs: Judged, **fields: object) -> Case:
    filled = {"where": "sums q0, sample 1", "truths": ("2",), "answer": "3", "decided": "exact", **fields}
    return Case(ours=ours, theirs=theirs, **filled)  # type: ignore[arg-type]


def test_responses_are_judged_in_order_by_another_python(tmp_path: Path) -> None:
    worker = tmp_path / "stand_in.py"
    worker.write_text(STAND_IN)
    asked = [Asked(response="two\nlines: 2", truths=("2",)), Asked(response="ü 3", truths=("4", "5"))]
    found = judge_all(Path(sys.executable), asked, worker=worker)
    assert [one.right for one in found] == [True, False]
    assert found[0].answers == ("3", "two\nlines: 2")
    assert found[1].truths == ("2", "4", "5")


def test_a_side_that_fails_or_says_too_little_ends_the_benchmark(tmp_path: Path) -> None:
    worker = tmp_path / "stand_in.py"
    worker.write_text("raise SystemExit(3)")
    with pytest.raises(subprocess.CalledProcessError):
        judge_all(Path(sys.executable), [Asked(response="", truths=("2",))], worker=worker)
    worker.write_text("")
    with pytest.raises(ValueError, match="lighteval judged 0 of 1 responses"):
        judge_all(Path(sys.executable), [Asked(response="", truths=("2",))], worker=worker)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (case(False, judged(True), answer=None), "no box: lighteval takes the last formula or number"),
        (case(False, judged(True), answer=" "), "no box: lighteval takes the last formula or number"),
        (case(False, judged(True), decided="timeout"), "ours: timeout while judging"),
        (case(False, judged(True)), "lighteval reads both as the same value"),
        (case(False, judged(True, answers=("a",))), "lighteval compares texts"),
        (case(True, judged(False, answers=())), "lighteval finds no answer in the response"),
        (case(True, judged(False, answers=("½",))), "lighteval cannot parse the answer"),
        (case(True, judged(False)), "lighteval reads another value"),
        (case(True, judged(False, truths=("½",))), "lighteval cannot parse the right answer"),
    ],
)
def test_a_difference_has_its_reason(found: Case, reason: str) -> None:
    assert found.differs
    assert why(found).startswith(reason)


def test_wrong_verdicts_are_counted_against_the_wanted_ones_and_agreement_is_not_listed() -> None:
    cases = [
        case(True, judged(False), wanted=True, where="kinds: a|b"),
        case(False, judged(True), wanted=True),
        case(True, judged(True), wanted=False, where="agreed"),
    ]
    table = tabulate("a table", cases)
    assert (table.ours, table.theirs, table.wrong_of_ours, table.wrong_of_theirs) == (2, 2, 2, 2)
    assert sum(table.reasons.values()) == 2
    text = markdown([table], cases)
    assert "| a table | 3 | 2 | 2 | 2 | 2 |" in text
    assert "kinds: a\\|b" in text
    assert "agreed" not in text


def test_samples_of_a_model_have_no_wanted_verdict() -> None:
    table = tabulate("a run", [case(True, judged(True))])
    assert (table.wrong_of_ours, table.wrong_of_theirs, table.reasons) == (None, None, {})
    assert "| a run | 1 | 1 | 1 | – | – |" in markdown([table], [])


def test_the_test_tables_are_read_whole() -> None:
    rows = {name: list(table_rows(name)) for name in ("pairs", "kinds", "answers")}
    assert {name: len(found) for name, found in rows.items()} == {"pairs": 354, "kinds": 706, "answers": 110}
    assert {wanted for found in rows.values() for *_, wanted in found} == {True, False}
    assert all("boxed" in response for _, response, _, _ in rows["pairs"])


def test_a_run_is_judged_without_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    (environment / f"lighteval-{LIGHTEVAL}").touch()
    worker = tmp_path / "stand_in.py"
    worker.write_text(STAND_IN)
    # A Python that runs the stand-in, whichever script it is given.
    python = environment / "bin" / "python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} {worker}\n")
    python.chmod(0o755)
    write_run(tmp_path / "run", plan(), [*graded("q0", "+-"), *graded("q1", "+-")])
    main([str(tmp_path / "run"), "--environment", str(environment)])
    assert capsys.readouterr().out.splitlines()[2].startswith("| run | 4 | 2 | ")
