"""Every set's source becomes rows that verl and the reward can read."""

import json
from typing import Any

import pyarrow.parquet as pq
import pytest
from dataset_workshop import ROWS, SCHEMAS, Workshop, question

from treepo.datasets import check_table
from treepo.datasets.rows import SCHEMA
from treepo.datasets.spec import catalogue

NAMES = sorted(catalogue())
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
"""The system message of the published evaluation."""


@pytest.mark.parametrize("name", NAMES)
def test_a_source_becomes_verl_s_layout(workshop: Workshop, name: str) -> None:
    (outcome,) = workshop.prepare(name)
    assert outcome.error is None
    spec = workshop.sets[name]
    path = workshop.data / f"{name}.parquet"
    check_table(path, "data.train_files")
    assert pq.read_schema(path).equals(SCHEMA)
    rows = workshop.rows(name)
    assert len(rows) == ROWS * len(spec.files)
    assert {row["data_source"] for row in rows} == {name}
    assert {row["ability"] for row in rows} == {spec.answer_type}
    assert {row["reward_model"]["style"] for row in rows} == {"rule"}
    assert {row["extra_info"]["set"] for row in rows} == {name}
    assert {row["extra_info"]["split"] for row in rows} == {"train" if spec.group == "train" else "test"}
    assert [row["extra_info"]["index"] for row in rows] == list(range(len(rows)))
    assert [row["extra_info"]["question"] for row in rows] == [question(name, i) for i in range(len(rows))]


@pytest.mark.parametrize(
    ("name", "truths"),
    [
        ("aime_2024", ["1", "2", "4"]),
        ("aime_2025", ["1", "2", "4"]),
        ("aime_2026", ["1", "2", "4"]),
        ("amc_2023", ["1", "2", "4"]),
        ("amc_2023_40", ["1", "2", "4"]),
        ("hmmt_feb_2025", ["\\frac{1}{3}", "\\frac{2}{3}", "\\frac{4}{3}"]),
        ("apex_2025", ["\\frac{1}{3}", "\\frac{2}{3}", "\\frac{4}{3}"]),
        ("math_500", ["\\frac{1}{1}", "\\frac{2}{1}", "\\frac{4}{1}"]),
        ("minerva_math", ["1", "2", "4"]),
        ("olympiad_bench", ["$1$", "$2$", "$4$"]),
        ("medqa", ["A", "B", "C"]),
        ("medmcqa", ["A", "B", "C"]),
        ("deepscaler", ["1", "2", "4"]),
        ("treepo_data", ["1", "2", "4"]),
        ("math_levels_3_to_5", ["\\frac{1}{1}", "\\frac{2}{1}", "\\frac{4}{1}"]),
    ],
)
def test_the_ground_truth_is_read_as_the_source_writes_it(workshop: Workshop, name: str, truths: list[str]) -> None:
    workshop.prepare(name)
    assert [row["reward_model"]["ground_truth"] for row in workshop.rows(name)][:3] == truths


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("med")])
def test_a_math_prompt_is_the_published_one(workshop: Workshop, name: str) -> None:
    workshop.prepare(name)
    assert workshop.rows(name)[1]["prompt"] == [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": question(name, 1)},
    ]


@pytest.mark.parametrize("name", ["medqa", "medmcqa"])
def test_a_choice_prompt_lists_the_options_by_letter(workshop: Workshop, name: str) -> None:
    workshop.prepare(name)
    system, user = workshop.rows(name)[1]["prompt"]
    assert "the letter of your final answer within \\boxed{}" in system["content"]
    assert user["content"] == f"{question(name, 1)}\n\nA. value 2\nB. value 3\nC. value 4\nD. value 5"


def test_the_source_s_own_name_of_a_row_is_kept(workshop: Workshop) -> None:
    workshop.prepare("math_500", "aime_2024", "minerva_math", "aime_2026")
    assert workshop.rows("aime_2026")[2]["extra_info"]["id"] == "3"
    assert workshop.rows("math_500")[2]["extra_info"]["id"] == "test/algebra/2.json"
    assert workshop.rows("aime_2024")[2]["extra_info"]["id"] == "62"
    assert workshop.rows("minerva_math")[2]["extra_info"]["id"] == ""


def test_several_files_follow_each_other_in_the_declared_order(workshop: Workshop) -> None:
    workshop.prepare("math_levels_3_to_5")
    places = [row["extra_info"]["source_index"] for row in workshop.rows("math_levels_3_to_5")]
    assert places == list(range(7 * ROWS))


def test_other_levels_of_math_are_left_out(workshop: Workshop) -> None:
    levels = ["Level 1", "Level 2", "Level 3", "Level 4", "Level 5", "Level ?"]
    base = SCHEMAS["math_levels_3_to_5"]
    workshop.write("math_levels_3_to_5", [{**base(50 + i), "level": level} for i, level in enumerate(levels)])
    workshop.declare("math_levels_3_to_5", files=workshop.sets["math_levels_3_to_5"].files[:1], expected_rows=3)
    (outcome,) = workshop.prepare("math_levels_3_to_5")
    assert outcome.entry is not None
    assert outcome.entry.dropped == {"filtered": 3}
    assert outcome.entry.rows_read == 6
    assert [row["extra_info"]["source_index"] for row in workshop.rows("math_levels_3_to_5")] == [2, 3, 4]


def test_olympiad_bench_is_text_only_english_and_open(workshop: Workshop) -> None:
    base = SCHEMAS["olympiad_bench"]
    others = [{"modality": "Multimodal"}, {"language": "Chinese"}, {"question_type": "Theorem proof"}, {}]
    workshop.write("olympiad_bench", [{**base(i), **other} for i, other in enumerate(others)])
    workshop.prepare("olympiad_bench")
    assert [row["extra_info"]["source_index"] for row in workshop.rows("olympiad_bench")] == [3]


def test_several_right_answers_are_a_json_list(workshop: Workshop) -> None:
    base = SCHEMAS["olympiad_bench"]
    workshop.write("olympiad_bench", [{**base(0), "final_answer": ["$1$", "1.0 ", "$1$"]}])
    workshop.prepare("olympiad_bench")
    assert json.loads(workshop.rows("olympiad_bench")[0]["reward_model"]["ground_truth"]) == ["$1$", "1.0"]


@pytest.mark.parametrize("answer", ["-1984, 1-\\sqrt{2}", "$1024$", "0.5", "9!"])
def test_an_answer_of_a_contest_is_kept_as_it_stands(workshop: Workshop, answer: str) -> None:
    workshop.write("hmmt_feb_2025", [{**SCHEMAS["hmmt_feb_2025"](0), "answer": answer}])
    workshop.prepare("hmmt_feb_2025")
    assert workshop.rows("hmmt_feb_2025")[0]["reward_model"]["ground_truth"] == answer


def test_a_contest_whose_answers_changed_type_is_refused_by_name(workshop: Workshop) -> None:
    workshop.write("hmmt_feb_2026", [{**SCHEMAS["hmmt_feb_2026"](0), "answer": 7}])
    assert "the column answer should hold text, holds int 7" in workshop.refusal("hmmt_feb_2026")


def test_a_context_stands_before_its_question(workshop: Workshop) -> None:
    base = SCHEMAS["olympiad_bench"]
    workshop.write("olympiad_bench", [{**base(0), "context": "Let it be."}, {**base(1), "context": None}])
    workshop.prepare("olympiad_bench")
    first, second = (row["prompt"][-1]["content"] for row in workshop.rows("olympiad_bench"))
    assert first == f"Let it be.\n\n{question('olympiad_bench', 0)}"
    assert second == question("olympiad_bench", 1)


def test_a_ready_prompt_is_kept_and_its_question_freed_of_instructions(workshop: Workshop) -> None:
    chat = [
        {
            "role": "user",
            "content": "What is 1?\nLet's think step by step and output the final answer within \\boxed{}.",
        }
    ]
    workshop.write("treepo_data", [{**SCHEMAS["treepo_data"](0), "prompt": chat}])
    workshop.prepare("treepo_data")
    row = workshop.rows("treepo_data")[0]
    assert row["prompt"] == chat
    assert row["extra_info"]["question"] == "What is 1?"


@pytest.mark.parametrize(
    ("solution", "truth"),
    [
        ("so $\\boxed{a}$, no, $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("so \\fbox{12}.", "12"),
        ("so $\\boxed 7$.", "7"),
        ("so $\\boxed{ 7 }$.", "7"),
    ],
)
def test_the_answer_is_the_last_box_of_a_solution(workshop: Workshop, solution: str, truth: str) -> None:
    row = {**SCHEMAS["math_levels_3_to_5"](90), "solution": solution}
    workshop.write("math_levels_3_to_5", [row])
    workshop.prepare("math_levels_3_to_5")
    assert workshop.rows("math_levels_3_to_5")[0]["reward_model"]["ground_truth"] == truth


@pytest.mark.parametrize(
    ("answer", "truth"),
    [("033", "33"), ("-7.0", "-7"), (12, "12"), (0.5, "0.5"), ("98765432109876543210", "98765432109876543210")],
)
def test_a_number_is_written_plainly_and_exactly(workshop: Workshop, answer: Any, truth: str) -> None:
    workshop.write("aime_2025", [{**SCHEMAS["aime_2025"](0), "answer": answer}])
    workshop.prepare("aime_2025")
    assert workshop.rows("aime_2025")[0]["reward_model"]["ground_truth"] == truth


def test_a_question_that_speaks_of_templates_is_left_as_it_is(workshop: Workshop) -> None:
    asked = "Fill {options} and {question} in {0}, 100% of \\boxed{}."
    workshop.write("medqa", [{**SCHEMAS["medqa"](0), "question": asked}])
    workshop.prepare("medqa")
    assert workshop.rows("medqa")[0]["prompt"][-1]["content"].startswith(f"{asked}\n\nA. ")


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("deepscaler", {"problem": " \n"}, "empty_question"),
        ("deepscaler", {"problem": None}, "empty_question"),
        ("deepscaler", {"answer": ""}, "empty_answer"),
        ("deepscaler", {"answer": None}, "empty_answer"),
        ("math_levels_3_to_5", {"solution": "No box."}, "empty_answer"),
        ("medmcqa", {"cop": -1}, "empty_answer"),
        ("medmcqa", {"cop": None}, "empty_answer"),
        ("medqa", {"answer_idx": ""}, "empty_answer"),
        ("amc_2023", {"answer": float("nan")}, "empty_answer"),
        ("aime_2025", {"answer": ""}, "empty_answer"),
        ("olympiad_bench", {"final_answer": []}, "empty_answer"),
        ("olympiad_bench", {"final_answer": None}, "empty_answer"),
    ],
)
def test_a_row_without_question_or_answer_is_left_out_and_counted(
    workshop: Workshop, name: str, change: dict[str, Any], reason: str
) -> None:
    workshop.write(name, [SCHEMAS[name](40), {**SCHEMAS[name](41), **change}, SCHEMAS[name](42)])
    (outcome,) = workshop.prepare(name)
    assert outcome.entry is not None
    assert outcome.entry.dropped == {reason: 1}
    assert outcome.entry.rows_written == outcome.entry.rows_read - 1
