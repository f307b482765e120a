"""The page of two runs' comparison, under an HTML parser."""

import json
from pathlib import Path

import pytest
from report_page import HOSTILE, Page, compared_runs

from treepo.evaluation.show.report import write_comparison


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return write_comparison(compared_runs(folder), folder / "out")


def test_the_page_says_what_the_markdown_says(written: tuple[Path, Path, Path]) -> None:
    markdown, page, results = written
    assert [path.name for path in written] == ["comparison.md", "comparison.html", "comparison.json"]
    text = Page.read(page).text
    for words in ("+50.0 [+50.0, +50.0]", "right to wrong", "1 went from wrong to right and 1 from right to wrong"):
        assert words in text, words
        assert words in markdown.read_text(), words
    assert "![Difference of the second run" in markdown.read_text()
    assert (markdown.parent / "plots" / "difference.svg").read_text().startswith("<svg")
    assert json.loads(results.read_text())["schema"] == 1
    assert "svg" in Page.read(page).tags


def test_hostile_text_is_text(written: tuple[Path, Path, Path]) -> None:
    page = Page.read(written[1])
    assert page.scripts == []
    assert page.handlers == []
    assert "img" not in page.tags
    assert HOSTILE.replace("\x00", "�") in page.text.replace("\x00", "�")


def test_nothing_may_run_or_be_asked_for(written: tuple[Path, Path, Path]) -> None:
    page = Page.read(written[1])
    assert page.policy.startswith("default-src 'none'; ")
    assert "script-src 'none';" in page.policy
    assert "link" not in page.tags
    assert [link for link in page.links if not link.startswith("#")] == []
    assert sorted(set(page.ids)) == sorted(page.ids)


def test_a_comparison_is_the_same_every_time(tmp_path: Path) -> None:
    comparison = compared_runs(tmp_path)
    first, second = (write_comparison(comparison, tmp_path / name) for name in "ab")
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
