"""``python -m treepo.datasets``."""

import json
from pathlib import Path

import pytest
from dataset_workshop import Workshop

from treepo.datasets.__main__ import app
from treepo.datasets.spec import catalogue


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        app([str(argument) for argument in arguments], prog_name="python -m treepo.datasets")
    captured = capsys.readouterr()
    assert isinstance(left.value.code, int)
    return left.value.code, captured.out, captured.err


def test_list_shows_every_set_with_rows_licence_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    for spec in catalogue().values():
        for part in (spec.group, spec.licence, spec.repository, str(spec.expected_rows or "")):
            assert part in lines[spec.name]


def test_list_as_json_is_what_the_sets_declare(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list", "--json")
    assert code == 0
    assert json.loads(out) == [spec.model_dump(mode="json") for spec in catalogue().values()]


def test_without_a_command_everything_is_prepared(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--from", workshop.sources, "--output", workshop.data, "--allow-row-count")
    code, out, err = run(capsys, *options)
    assert (code, err) == (0, "")
    assert {path.stem for path in workshop.data.glob("*.parquet")} == set(catalogue())
    assert f"aime_2024: {workshop.data}/aime_2024.parquet, 3 rows at an unknown revision" in out
    code, out, _ = run(capsys, "prepare", "train", *options)
    assert code == 0
    assert [line.split(", ")[0] for line in out.splitlines()[:3]] == [
        "deepscaler: up to date",
        "math_levels_3_to_5: up to date",
        "treepo_data: up to date",
    ]
    assert run(capsys, "verify", "--output", workshop.data) == (0, f"{workshop.data} agrees with its manifest\n", "")


def test_what_fails_is_told_at_the_end_and_the_rest_is_there(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop.path("medqa").unlink()
    options = ("--from", workshop.sources, "--output", workshop.data)
    code, out, err = run(capsys, "medqa", "aime_2024", "amc_2023", "--allow-row-count", *options)
    assert code == 1
    assert err.startswith("error: medqa: ")
    assert len(err.splitlines()) == 1
    assert len(out.splitlines()) == 2


def test_verify_fails_with_one_line_per_problem(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    workshop.prepare("aime_2024", "medqa")
    for name in ("aime_2024", "medqa"):
        (workshop.data / f"{name}.parquet").unlink()
    code, out, err = run(capsys, "verify", "--output", workshop.data)
    assert (code, out) == (1, "")
    assert [line.split(": ")[:2] for line in err.splitlines()] == [["error", "aime_2024"], ["error", "medqa"]]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["aime_24"], "error: no set or group is called aime_24; did you mean aime_2024"),
        (["--from", "/nowhere"], "error: --from /nowhere is no folder; see docs/data.md"),
        (["--revision", "aime_2024"], "error: --revision aime_2024 should be SET=HASH"),
        (["--revision", "aime=ab"], "error: --revision aime=ab: no set is called aime; did you mean aime_2024"),
        (["verify", "--output", "/nowhere"], "error: /nowhere/manifest.json does not exist; prepare the data first"),
        (["download", "aime_24", "--to", "/nowhere"], "error: no set or group is called aime_24"),
    ],
)
def test_a_wrong_call_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], line: str) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith(line)
    assert len(err.splitlines()) == 1


def test_without_a_network_there_is_one_line(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests run with HF_HUB_OFFLINE=1; an empty cache holds nothing either.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(workshop.data / "cache"))
    code, _, err = run(capsys, "--output", workshop.data)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "the hub cannot be reached" in err
    assert "--from DIR" in err
