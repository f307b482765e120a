"""A source that is not what its set declares is one line that names set, file, column and revision."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dataset_workshop import COMMIT, ROWS, SCHEMAS, Workshop
from training_run import ROOT

from treepo.datasets.errors import DataError


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("aime_2024", "answer"),
        ("aime_2025", "problem"),
        ("amc_2023", "id"),
        ("math_500", "unique_id"),
        ("minerva_math", "question"),
        ("olympiad_bench", "language"),
        ("medqa", "options"),
        ("medmcqa", "opc"),
        ("deepscaler", "answer"),
        ("math_levels_3_to_5", "level"),
        ("treepo_data", "prompt"),
    ],
)
def test_a_missing_column_is_named_with_set_file_and_revision(workshop: Workshop, name: str, column: str) -> None:
    rows = [{key: value for key, value in SCHEMAS[name](i).items() if key != column} for i in range(ROWS)]
    workshop.write(name, rows)
    workshop.note_commit(name, COMMIT)
    workshop.declare(name, revision=COMMIT)
    file = workshop.sets[name].files[0]
    line = workshop.refusal(name)
    assert line.startswith(f"{name}: {file} at revision {COMMIT}")
    assert f"lacks the column {column}; it has {', '.join(rows[0])}" in line


def test_a_column_that_one_row_lacks_is_named_with_the_row(workshop: Workshop) -> None:
    workshop.write("minerva_math", [SCHEMAS["minerva_math"](0), {"question": "?"}])
    assert "row 1 lacks the column answer; it has question" in workshop.refusal("minerva_math")


def test_a_missing_nested_column_is_named(workshop: Workshop) -> None:
    workshop.write("treepo_data", [{**SCHEMAS["treepo_data"](0), "reward_model": {"style": "rule"}}])
    assert "row 0: the column reward_model.ground_truth should hold a value" in workshop.refusal("treepo_data")


@pytest.mark.parametrize(
    ("name", "change", "line"),
    [
        ("deepscaler", {"answer": 4}, "the column answer should hold text, holds int 4"),
        ("deepscaler", {"problem": ["a"]}, "the column problem should hold text, holds list ['a']"),
        ("aime_2024", {"answer": "four"}, "the column answer should hold a number, holds str 'four'"),
        ("aime_2024", {"answer": "inf"}, "the column answer should hold a number, holds str 'inf'"),
        ("aime_2024", {"answer": ["4"]}, "the column answer should hold a number, holds list"),
        ("amc_2023", {"answer": True}, "the column answer should hold a number, holds bool True"),
        ("math_levels_3_to_5", {"solution": 4}, "the column solution should hold text, holds int 4"),
        ("math_levels_3_to_5", {"level": [3]}, "the column level should hold text or a whole number, holds list [3]"),
        ("olympiad_bench", {"final_answer": "4"}, "the column final_answer should hold a list of texts, holds str"),
        ("olympiad_bench", {"final_answer": [4]}, "the column final_answer should hold a list of texts, holds list"),
        ("medqa", {"answer_idx": "E"}, "the column answer_idx should hold a letter from A to D, holds str 'E'"),
        ("medqa", {"options": ["a", "b"]}, "the column options should hold options by letter, A first"),
        ("medqa", {"options": {"A": "a", "C": "c"}}, "the column options should hold options by letter, A first"),
        ("medmcqa", {"cop": 4}, "the column cop should hold a whole number below 4, holds int 4"),
        ("medmcqa", {"cop": "A"}, "the column cop should hold a whole number below 4, holds str 'A'"),
        ("treepo_data", {"prompt": "1?"}, "the column prompt should hold a chat that ends with the user's message"),
        ("treepo_data", {"prompt": [{"role": "user"}]}, "the column prompt should hold messages with role and content"),
    ],
)
def test_a_changed_type_is_named_with_column_row_and_value(
    workshop: Workshop, name: str, change: dict[str, Any], line: str
) -> None:
    workshop.write(name, [{**SCHEMAS[name](0), **change}])
    refusal = workshop.refusal(name)
    assert refusal.startswith(f"{name}: {workshop.sets[name].files[0]} at revision unknown: row 0: ")
    assert line in refusal


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("aime_2024", "PAR1", "is not a readable parquet file"),
        ("deepscaler", "[1", "is not readable JSON"),
        ("deepscaler", "{}", "should hold an array of rows, holds dict"),
        ("deepscaler", "[1]", "row 0 should be an object, is int"),
        ("math_500", '{"a": 1}\n{', "row 0 lacks the column problem"),
        ("math_500", "\n{", "is not readable JSON in line 2"),
        ("math_500", "\x00\xff", "is not readable JSON in line 1"),
    ],
)
def test_an_unreadable_file_is_named(workshop: Workshop, name: str, content: str, line: str) -> None:
    workshop.path(name).write_bytes(content.encode("latin-1"))
    refusal = workshop.refusal(name)
    assert refusal.startswith(f"{name}: {workshop.sets[name].files[0]} at revision unknown")
    assert line in refusal


def test_another_number_of_rows_is_refused_unless_allowed(workshop: Workshop) -> None:
    workshop.declare("aime_2024", expected_rows=30)
    assert workshop.refusal("aime_2024") == (
        "aime_2024: expected 30 rows, found 3 at revision unknown; --allow-row-count takes them all the same"
    )
    (outcome,) = workshop.prepare("aime_2024", allow_row_count=True)
    assert outcome.entry is not None
    assert outcome.entry.rows_written == 3


def test_empty_rows_count_as_rows_of_the_source(workshop: Workshop) -> None:
    workshop.write("deepscaler", [SCHEMAS["deepscaler"](0), {**SCHEMAS["deepscaler"](1), "answer": ""}])
    workshop.declare("deepscaler", expected_rows=2)
    (outcome,) = workshop.prepare("deepscaler")
    assert outcome.error is None


def test_a_set_of_which_nothing_is_left_is_refused(workshop: Workshop) -> None:
    workshop.write("minerva_math", [{"question": "?", "answer": ""}])
    line = workshop.refusal("minerva_math")
    assert line == "minerva_math: no row is left (1 empty_answer); the source has changed"
    assert not (workshop.data / "minerva_math.parquet").exists()


def test_a_missing_repository_or_file_of_the_folder_is_named(workshop: Workshop) -> None:
    workshop.path("aime_2024").unlink()
    assert workshop.refusal("aime_2024") == (
        f"aime_2024: --from {workshop.sources} lacks HuggingFaceH4/aime_2024/data/train-00000-of-00001.parquet; "
        "see docs/data.md"
    )
    workshop.declare("medqa", repository="nobody/nothing")
    assert f"medqa: --from {workshop.sources} has no folder nobody/nothing" in workshop.refusal("medqa")


def test_files_of_another_commit_are_refused_with_the_way_to_accept_them(workshop: Workshop) -> None:
    workshop.note_commit("aime_2024", COMMIT)
    line = workshop.refusal("aime_2024")
    assert f"holds revision {COMMIT}, wanted {workshop.sets['aime_2024'].revision}" in line
    assert f"--revision aime_2024={COMMIT}" in line
    (outcome,) = workshop.prepare("aime_2024", revisions={"aime_2024": COMMIT})
    assert outcome.entry is not None
    assert outcome.entry.revision == COMMIT


def test_files_of_several_commits_are_refused(workshop: Workshop) -> None:
    workshop.note_commit("treepo_data", COMMIT)
    workshop.note_commit("treepo_data", "d" * 40, file=1)
    assert "holds files of several revisions" in workshop.refusal("treepo_data")


def test_a_branch_takes_whatever_commit_the_folder_holds(workshop: Workshop) -> None:
    for file in range(2):
        workshop.note_commit("treepo_data", COMMIT, file)
    (outcome,) = workshop.prepare("treepo_data")
    assert outcome.entry is not None
    assert (outcome.entry.spec.revision, outcome.entry.revision) == ("main", COMMIT)


def test_one_bad_set_does_not_keep_the_others_back(workshop: Workshop) -> None:
    workshop.path("medqa").unlink()
    outcomes = {outcome.name: outcome for outcome in workshop.prepare("medqa", "aime_2024")}
    assert outcomes["medqa"].error is not None
    assert outcomes["aime_2024"].written


@pytest.mark.parametrize(
    ("content", "line"),
    [("{", "is no manifest (: Invalid JSON"), ('{"format": 9}', "is no manifest (format: Input should be 1)")],
)
def test_a_damaged_manifest_is_named(workshop: Workshop, content: str, line: str) -> None:
    workshop.data.mkdir()
    (workshop.data / "manifest.json").write_text(content)
    with pytest.raises(DataError) as caught:
        workshop.prepare("aime_2024")
    assert line in str(caught.value)
    assert "delete it and prepare anew" in str(caught.value)


def test_a_folder_has_one_writer_at_a_time(workshop: Workshop) -> None:
    hold = (
        "import sys\nfrom pathlib import Path\nfrom treepo.datasets.files import sole_writer\n"
        "with sole_writer(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", hold, str(workshop.data)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        with pytest.raises(DataError, match="another preparation is writing there; wait for it"):
            workshop.prepare("aime_2024")
    finally:
        first.kill()
        first.wait()
    # A killed holder holds nothing.
    assert workshop.prepare("aime_2024")[0].written


def test_a_folder_that_cannot_be_made_is_named(workshop: Workshop, tmp_path: Path) -> None:
    workshop.data = tmp_path / "file" / "data"
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written to"):
        workshop.prepare("aime_2024")


def test_a_full_disk_is_one_line(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("treepo.datasets.prepare.pq.write_table", full)
    assert workshop.refusal("aime_2024") == "aime_2024: [Errno 28] No space left on device"
