"""The sets' own files: complete, valid, found by name, shipped with the wheel and told in the documentation."""

import fnmatch
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from training_run import ROOT

from treepo.datasets.errors import DataError
from treepo.datasets.spec import COMMIT, AnswerType, Group, catalogue, choose, read_spec

SETS = ROOT / "treepo" / "datasets" / "sets"
SOUND: dict[str, Any] = yaml.safe_load((SETS / "aime_2024.yaml").read_text())
CHOICE: dict[str, Any] = yaml.safe_load((SETS / "medqa.yaml").read_text())


def test_every_set_of_the_project_is_there() -> None:
    groups = {group: {s.name for s in catalogue().values() if s.group is group} for group in Group}
    assert groups[Group.TRAIN] == {"treepo_data", "math_levels_3_to_5", "deepscaler"}
    assert groups[Group.BENCHMARKS] == {
        *("aime_2024", "aime_2025", "aime_2026", "amc_2023", "amc_2023_40", "math_500", "minerva_math"),
        *("olympiad_bench", "medqa", "medmcqa", "apex_2025"),
        *("hmmt_feb_2025", "hmmt_feb_2026", "hmmt_nov_2025", "brumo_2025", "smt_2025", "cmimc_2025"),
    }


def test_the_published_weights_are_declared() -> None:
    weights = {s.name: s.published_weight for s in catalogue().values() if s.published_weight is not None}
    assert weights == {"aime_2024": 30, "amc_2023": 83, "math_500": 500, "minerva_math": 272, "olympiad_bench": 675}


def test_a_revision_is_a_commit_or_main() -> None:
    assert {s.revision for s in catalogue().values() if not COMMIT.fullmatch(s.revision)} == {"main"}


def test_a_contest_has_its_year_and_size() -> None:
    sizes = {s.name: (s.year, s.expected_rows) for s in catalogue().values() if s.year is not None}
    assert sizes == {
        "aime_2024": (2024, 30),
        "aime_2025": (2025, 30),
        "aime_2026": (2026, 30),
        "amc_2023": (2023, 83),
        "amc_2023_40": (2023, 40),
        "apex_2025": (2025, 12),
        "brumo_2025": (2025, 30),
        "cmimc_2025": (2025, 40),
        "hmmt_feb_2025": (2025, 30),
        "hmmt_feb_2026": (2026, 33),
        "hmmt_nov_2025": (2025, 30),
        "smt_2025": (2025, 53),
    }


def test_every_contest_is_pinned_to_a_commit() -> None:
    assert all(COMMIT.fullmatch(s.revision) for s in catalogue().values() if s.year is not None)


def test_the_medical_sets_alone_are_multiple_choice() -> None:
    assert {s.name for s in catalogue().values() if s.answer_type is AnswerType.CHOICE} == {"medqa", "medmcqa"}


def test_the_wheel_holds_every_set_file() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["treepo"]
    for file in SETS.iterdir():
        name = str(file.relative_to(ROOT / "treepo"))
        assert any(fnmatch.fnmatch(name, pattern) for pattern in patterns), name


def test_the_documentation_tells_repository_revision_and_licence_of_every_set() -> None:
    lines = (ROOT / "docs" / "data.md").read_text().splitlines()
    told = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    for spec in catalogue().values():
        revision = spec.revision[:7] if COMMIT.fullmatch(spec.revision) else spec.revision
        rows = "not known" if spec.expected_rows is None else f"{spec.expected_rows:,}"
        cells = [f"`{spec.name}`", spec.title, f"`{spec.repository}`", f"`{revision}`", rows, spec.licence]
        assert told[spec.name] == f"| {' | '.join(cells)} |"


def refused(tmp_path: Path, content: str, name: str = "aime_2024.yaml") -> str:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_spec(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"licens": "MIT"}, "aime_2024.yaml: licens: Extra inputs are not permitted"),
        ({"files": []}, "aime_2024.yaml: files: List should have at least 1 item"),
        ({"files": ["data.csv"]}, "data.csv is neither .parquet nor .json nor .jsonl"),
        ({"files": ["../other.json"]}, "../other.json leads out of the repository"),
        ({"group": "test"}, "group: Input should be 'train' or 'benchmarks'"),
        ({"metric": None}, "benchmarks have a metric, training sets have none"),
        ({"template": None}, "a template is needed, unless columns.prompt holds ready prompts"),
        ({"template": [{"role": "user", "content": "?"}]}, "the template's user message must hold {question}"),
        ({"answer_type": "multiple_choice"}, "columns.options go with the answer type multiple_choice"),
        (
            {"columns": {"question": "q", "prompt": "p", "answer": "a", "answer_format": "text"}},
            "exactly one of question and prompt must be given",
        ),
        (
            {"columns": {"prompt": "p", "context": "c", "answer": "a", "answer_format": "text"}},
            "it takes neither context nor options",
        ),
        (
            {"columns": {"question": "q", "answer": "a", "answer_format": "letter"}},
            "options go with the answer formats letter and index",
        ),
    ],
)
def test_an_invalid_set_file_is_one_line_with_file_and_field(tmp_path: Path, change: dict[str, Any], line: str) -> None:
    assert line in refused(tmp_path, yaml.safe_dump({**SOUND, **change}))


def test_a_choice_template_must_show_the_options(tmp_path: Path) -> None:
    content = yaml.safe_dump({**CHOICE, "template": SOUND["template"]})
    assert "{options} for multiple choice" in refused(tmp_path, content, "medqa.yaml")


def test_a_set_file_is_called_as_its_set(tmp_path: Path) -> None:
    line = refused(tmp_path, yaml.safe_dump(SOUND), "aime.yaml")
    assert line == "aime.yaml: the set's name is aime_2024, so the file must be aime_2024.yaml"


def test_what_is_no_yaml_is_named(tmp_path: Path) -> None:
    assert "aime_2024.yaml: no YAML" in refused(tmp_path, "a: [")


def test_names_groups_and_nothing_choose_sets_once() -> None:
    sets = catalogue()
    assert [s.name for s in choose(["medqa", "medqa", "aime_2024"], sets)] == ["medqa", "aime_2024"]
    assert {s.group for s in choose(["train"], sets)} == {Group.TRAIN}
    assert choose([], sets) == choose(["all"], sets) == choose(["train", "benchmarks"], sets) == list(sets.values())


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("aime2024", "no set or group is called aime2024; did you mean aime_2024"),
        ("benchmark", "did you mean benchmarks?"),
        ("zzz", "there are deepscaler, math_levels_3_to_5, treepo_data, aime_2024"),
    ],
)
def test_an_unknown_name_is_answered_with_those_like_it(name: str, line: str) -> None:
    with pytest.raises(DataError) as caught:
        choose([name], catalogue())
    assert line in str(caught.value)
