"""The pages as a site: every page, link and anchor, the reference, the start page that is the README."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from browser import open_tab
from chromium import ABSENT, locate
from config_docs import option_rows
from training_run import ROOT

SITE = ROOT / "docs/site"

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `scripts/docs.sh build` makes it. Some ten seconds: every page, and the code's docstrings."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", SITE / "mkdocs.yml", "-d", folder],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_builds_strictly_and_has_every_page(site: Path) -> None:
    # Strictly: a link or an anchor that leads nowhere, and a page that is not in the navigation, end the build.
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert {page for page in pages if not (site / f"{page}.html").is_file()} == set()
    assert not (site / "site").exists()


def test_the_start_page_is_the_readme_with_its_links_to_pages(site: Path) -> None:
    start = (site / "index.html").read_text(encoding="utf-8")
    assert "<h1" in start
    assert 'href="quickstart.html"' in start
    assert 'href="docs/' not in start


def test_files_beside_the_pages_are_in_the_site(site: Path) -> None:
    assert (site / "files/scripts/cluster/slurm.sbatch.txt").read_bytes() == (
        ROOT / "scripts/cluster/slurm.sbatch"
    ).read_bytes()
    assert (site / "files/benchmarks/results/learning/the_arms.png").is_file()
    assert "word_order.py" in (site / "files/recipe/own_task/index.html").read_text(encoding="utf-8")


def test_the_notebook_is_a_page_with_its_pictures(site: Path) -> None:
    page = (site / "notebooks/one_tree.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img[^>]* src="([^"]+)"', page)
    assert len(pictures) == 3
    assert [name for name in pictures if not (site / "notebooks" / name).is_file()] == []


def test_the_reference_has_the_codes_docstrings_and_every_option(site: Path) -> None:
    sampler = (site / "reference/treepo.tree.html").read_text(encoding="utf-8")
    assert 'id="treepo.tree.TreeSampler.receive"' in sampler
    options = (site / "reference/options.html").read_text(encoding="utf-8")
    names = [row.split("`")[1] for row in option_rows()]
    assert len(names) > 80
    assert [name for name in names if f"<code>{name}</code>" not in options] == []


def test_no_page_loads_anything_from_another_host_but_the_drawings(site: Path) -> None:
    loaded = set()
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        loaded |= set(re.findall(r'<(?:script|img|iframe)[^>]* src="(https?:[^"]+)"', text))
        loaded |= set(re.findall(r'<link[^>]*rel="(?:stylesheet|preconnect)"[^>]*href="(https?:[^"]+)"', text))
    assert {host for host in loaded if "/mermaid" not in host} == set()


def test_markdown_reads_lists_and_tables_of_every_page_as_github_does(site: Path) -> None:
    left = {}
    for page in site.glob("*.html"):
        text = re.sub(r"<pre.*?</pre>|<code.*?</code>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        paragraphs = re.findall(r"<p>(.*?)</p>", text, flags=re.DOTALL)
        if bad := [words for words in paragraphs if re.search(r"^(- |\* |\d+\. |\| )", words, flags=re.MULTILINE)]:
            left[page.name] = bad
    assert left == {}


def test_the_site_is_read_without_a_server(site: Path) -> None:
    chromium = locate()
    if chromium is None:
        pytest.skip(ABSENT)
    with open_tab(chromium) as tab:
        tab.open(site / "index.html")
        assert tab.evaluate("document.querySelectorAll('.md-tabs__link').length") == 6
        assert tab.evaluate("document.querySelector('article table').rows.length") > 4
