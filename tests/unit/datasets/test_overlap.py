"""Repeated questions go, and no training row asks what a benchmark asks."""

from typing import Any

import pytest
from dataset_workshop import SCHEMAS, Workshop, question

from treepo.datasets.manifest import Entry
from treepo.datasets.overlap import Overlap, normalise
from treepo.datasets.prepare import Outcome


def entry(outcome: Outcome) -> Entry:
    assert outcome.error is None
    assert outcome.entry is not None
    return outcome.entry


def problem(text: str, answer: str = "1") -> dict[str, Any]:
    return {**SCHEMAS["deepscaler"](0), "problem": text, "answer": answer}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is $2+2$?", "what is  2 + 2"),
        ("Find $\\dfrac{1}{2}$.", "Find $\\frac12$"),
        ("Let $\\left( x \\right)$ be", "Let \\( ( x ) \\) be"),
        ("Is $a\\,b$ \\text{even}?", "Is $ab$ even?"),
        ("“Naïve” question", '"Nai\N{COMBINING DIAERESIS}ve" question'),
        ("Sum\nof\tall", "Sum of all"),
    ],
)
def test_what_only_looks_different_is_the_same_question(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is $2+2$?", "What is $2-2$?"),
        ("What is $2<3$?", "What is $2>3$?"),
        ("What is $x^2$?", "What is $x_2$?"),
        ("What is $12$?", "What is $21$?"),
        ("Find \\leftarrow", "Find \\arrow"),
        ("Let $f(x)$", "Let $fx$"),
    ],
)
def test_what_says_something_else_is_another_question(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


def test_training_rows_that_are_in_a_benchmark_are_dropped_and_counted_by_benchmark(workshop: Workshop) -> None:
    workshop.write(
        "deepscaler",
        [
            problem("Something else?"),
            problem(question("aime_2024", 0).replace(" ", "  ")),
            problem(question("math_500", 1)),
            problem(question("math_500", 2).upper()),
        ],
    )
    (outcome,) = workshop.prepare("deepscaler")
    found = entry(outcome)
    assert found.dropped == {"in_benchmark": 3}
    assert found.overlap is not None
    assert {name: count for name, count in found.overlap.found.items() if count} == {"aime_2024": 1, "math_500": 2}
    assert set(found.overlap.found) == {spec.name for spec in workshop.sets.values() if spec.group == "benchmarks"}
    assert [row["extra_info"]["question"] for row in workshop.rows("deepscaler")] == ["Something else?"]
    assert [row["extra_info"]["index"] for row in workshop.rows("deepscaler")] == [0]


def test_the_check_can_count_alone_or_not_look(workshop: Workshop) -> None:
    workshop.write("deepscaler", [problem("Something else?"), problem(question("medqa", 0))])
    kept = entry(workshop.prepare("deepscaler", overlap=Overlap.KEEP)[0])
    assert (kept.rows_written, kept.dropped) == (2, {})
    assert kept.overlap is not None
    assert kept.overlap.found["medqa"] == 1
    # Another way of checking is another result, also where the file is there.
    (outcome,) = workshop.prepare("deepscaler", overlap=Overlap.OFF)
    assert outcome.written
    unchecked = entry(outcome).overlap
    assert unchecked is not None
    assert unchecked.found == {}


def test_a_ready_prompt_is_checked_without_its_instructions(workshop: Workshop) -> None:
    asked = f"{question('aime_2024', 1)}\nLet's think step by step and output the final answer within \\boxed{{}}."
    workshop.write("treepo_data", [{**SCHEMAS["treepo_data"](0), "prompt": [{"role": "user", "content": asked}]}])
    assert entry(workshop.prepare("treepo_data")[0]).dropped == {"in_benchmark": 1}


def test_repeated_training_questions_go_and_conflicting_answers_are_told_apart(workshop: Workshop) -> None:
    rows = [problem("What is it?", "1"), problem("what is it", "1"), problem("What is it?!", "2"), problem("Other?")]
    workshop.write("deepscaler", rows)
    assert entry(workshop.prepare("deepscaler")[0]).dropped == {"conflicting_duplicate": 1, "duplicate": 1}
    assert [row["extra_info"]["source_index"] for row in workshop.rows("deepscaler")] == [0, 3]


def test_benchmarks_keep_what_was_published_and_count_repetitions(workshop: Workshop) -> None:
    row = SCHEMAS["minerva_math"](0)
    workshop.write("minerva_math", [row, row, SCHEMAS["minerva_math"](1)])
    kept = entry(workshop.prepare("minerva_math")[0])
    assert (kept.rows_written, kept.repeated, kept.dropped) == (3, 1, {})


def test_benchmarks_are_prepared_before_the_training_sets_that_need_them(workshop: Workshop) -> None:
    outcomes = workshop.prepare(*workshop.sets)
    assert [outcome.error for outcome in outcomes] == [None] * len(workshop.sets)
    groups = [workshop.sets[outcome.name].group for outcome in outcomes]
    assert groups == sorted(groups)
    # A prepared benchmark's questions come from its parquet file.
    assert sum(stage == "resolving" for _, stage in workshop.stages) == len(workshop.sets)


def test_a_prepared_benchmark_needs_no_source_any_more(workshop: Workshop) -> None:
    benchmarks = [spec.name for spec in workshop.sets.values() if spec.group == "benchmarks"]
    workshop.prepare(*benchmarks)
    for name in benchmarks:
        workshop.path(name).unlink()
    workshop.write("deepscaler", [problem("Other?"), problem(question("aime_2024", 0))])
    assert entry(workshop.prepare("deepscaler")[0]).dropped == {"in_benchmark": 1}


def test_a_benchmark_that_cannot_be_read_stops_the_check_with_a_way_out(workshop: Workshop) -> None:
    workshop.path("medqa").unlink()
    line = workshop.refusal("deepscaler")
    assert line.startswith(f"medqa: --from {workshop.sources} lacks ")
    assert line.endswith("(training sets are checked against it; --overlap off does without)")
    assert workshop.prepare("deepscaler", overlap=Overlap.OFF)[0].written
