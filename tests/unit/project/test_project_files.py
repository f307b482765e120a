"""Version, licence and citation are the same wherever they stand."""

import re
import tomllib
from typing import Any

import pytest
import yaml
from training_run import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def citation() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_the_citation_has_what_the_format_asks_for(citation: dict[str, Any]) -> None:
    assert citation["cff-version"] == "1.2.0"
    assert citation["message"]
    assert citation["authors"] == [{"name": "The TreePO contributors"}]
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def test_the_readme_cites_the_paper_as_the_citation_file_does(citation: dict[str, Any]) -> None:
    paper = citation["preferred-citation"]
    entry = re.search(r"```bibtex\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert entry is not None
    fields = {
        name: " ".join(value.replace("{", "").replace("}", "").split())
        for name, value in re.findall(r"^  (\w+) += (\{.*?\}),?$", entry[1], flags=re.DOTALL | re.MULTILINE)
    }
    names = [f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]]
    assert len(names) == 17
    assert fields["author"].split(" and ") == names
    assert (fields["title"], fields["year"]) == (paper["title"], str(paper["year"]))
    assert fields["journal"] == paper["journal"]
    assert paper["url"].removeprefix("https://arxiv.org/abs/") in fields["journal"]


def test_the_changelog_has_an_entry_for_the_version() -> None:
    versions = re.findall(r"^## \[([\w.]+)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert versions[:2] == ["Unreleased", PROJECT["version"]]


@pytest.mark.parametrize("page", ["CHANGELOG.md", "CONTRIBUTING.md", "recipe/treepo/README.md", "data/README.md"])
def test_every_link_of_a_page_outside_the_docs_leads_somewhere(page: str) -> None:
    place = ROOT / page
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", place.read_text()) if "://" not in link]
    assert links
    assert [link for link in links if not (place.parent / link).exists()] == []
