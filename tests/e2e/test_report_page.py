"""The report's page in a headless Chromium: what a reader clicks, hostile text, thousands of samples, colours."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Tab, open_tab
from chromium import ABSENT, locate
from report_page import HOSTILE, browsable_run, compared_runs, hostile_run

from treepo.evaluation.show.report import write_comparison, write_report

CHROMIUM = locate()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=ABSENT)

COUNT = "document.getElementById('count').textContent"
READY = "!document.getElementById('browser').hidden && document.getElementById('count').textContent !== ''"
ROWS = "[...document.querySelectorAll('#rows tr')].map(row => [...row.cells].map(cell => cell.textContent))"


@pytest.fixture
def tab() -> Iterator[Tab]:
    assert CHROMIUM is not None
    with open_tab(CHROMIUM) as opened:
        opened.call("Runtime.enable")
        opened.call("Log.enable")
        opened.call("Network.enable")
        yield opened


def show(tab: Tab, page: Path) -> None:
    tab.open(page)
    tab.until(READY)


def complaints(tab: Tab) -> list[object]:
    """The browser's, and every request but the page's own."""
    return [*tab.complaints(), *tab.requested()[1:]]


def choose(tab: Tab, name: str, value: str) -> None:
    tab.evaluate(
        f"(() => {{ const field = document.getElementById('{name}'); field.value = '{value}';"
        " field.dispatchEvent(new Event('change')); field.dispatchEvent(new Event('input')); })()"
    )


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return write_report(browsable_run(tmp_path), tmp_path).page


def test_filters_search_and_a_sample_as_a_reader_uses_them(tab: Tab, page: Path) -> None:
    show(tab, page)
    assert tab.evaluate(COUNT) == "1 to 48 of 48 samples"
    choose(tab, "benchmark", "more")
    tab.until(f"{COUNT} === '1 to 24 of 24 samples'")
    choose(tab, "verdict", "right")
    tab.until(f"{COUNT} === 'no sample'")
    choose(tab, "verdict", "wrong")
    choose(tab, "search", "needle")
    tab.until(f"{COUNT} === '1 to 1 of 1 samples'")
    assert tab.evaluate(ROWS) == [["more", "more-2", "independent", "1", "wrong", "4", "eos", "11"]]
    tab.evaluate("document.querySelector('#rows button').click()")
    tab.until("!document.getElementById('sample').hidden")
    assert tab.evaluate("document.getElementById('response').textContent") == (
        "The response 1 to more-2. Needle in the hay."
    )
    assert tab.evaluate("document.getElementById('prompt').textContent") == "prompt of more-2"
    assert "wrong, decided by exact" in tab.evaluate("document.getElementById('facts').textContent")
    assert tab.evaluate("document.querySelectorAll('#siblings button').length") == 8
    tab.evaluate("document.querySelectorAll('#siblings button')[4].click()")
    tab.until("document.getElementById('facts').textContent.includes('tree d=2, sample 0')")
    assert "tree 0, nodes 1:2 2:2" in tab.evaluate("document.getElementById('facts').textContent")
    assert complaints(tab) == []


def test_hostile_text_is_shown_and_does_nothing(tab: Tab, tmp_path: Path) -> None:
    show(tab, write_report(hostile_run(tmp_path), tmp_path).page)
    tab.evaluate("document.querySelector('#rows button').click()")
    tab.until("!document.getElementById('sample').hidden")
    assert tab.evaluate("document.getElementById('response').textContent") == HOSTILE
    assert tab.evaluate("document.getElementById('prompt').textContent") == HOSTILE
    assert tab.evaluate(ROWS)[0][7] == HOSTILE
    assert tab.evaluate("typeof window.broken") == "undefined"
    assert tab.evaluate("document.querySelectorAll('img').length") == 0
    assert complaints(tab) == []


def test_a_script_that_slipped_in_could_not_run(tab: Tab, tmp_path: Path, page: Path) -> None:
    text = page.read_text().replace("<main>", "<main><script>window.broken = 1</script>", 1)
    changed = tmp_path / "changed.html"
    changed.write_text(text)
    show(tab, changed)
    assert tab.evaluate("typeof window.broken") == "undefined"
    assert any("Content Security Policy" in str(complaint) for complaint in complaints(tab))


def test_thousands_of_samples_are_turned_page_by_page(tab: Tab, tmp_path: Path) -> None:
    show(tab, write_report(browsable_run(tmp_path, questions=100, samples=16), tmp_path).page)
    assert tab.evaluate(COUNT) == "1 to 50 of 6400 samples"
    assert tab.evaluate("document.querySelectorAll('#rows tr').length") == 50
    assert tab.evaluate("document.getElementById('previous').disabled")
    tab.evaluate("for (let turn = 0; turn < 127; turn += 1) document.getElementById('next').click()")
    assert tab.evaluate(COUNT) == "6351 to 6400 of 6400 samples"
    assert tab.evaluate("document.getElementById('next').disabled")
    choose(tab, "search", "needle")
    tab.until(f"{COUNT} === '1 to 1 of 1 samples'")
    assert complaints(tab) == []


def test_the_page_of_a_comparison_runs_nothing_and_fits_a_telephone(tab: Tab, tmp_path: Path) -> None:
    tab.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=False)
    _, page, _ = write_comparison(compared_runs(tmp_path), tmp_path / "out")
    tab.open(page)
    tab.until("document.readyState === 'complete'")
    assert tab.evaluate("[...document.querySelectorAll('h2')].map(head => head.textContent)") == [
        "Difference",
        "Questions that changed",
        "Plots",
    ]
    # HTML has no character 0: a browser passes it over.
    assert HOSTILE.replace("\x00", "") in tab.evaluate(
        "[...document.querySelectorAll('td')].map(cell => cell.textContent)"
    )
    assert tab.evaluate("document.querySelectorAll('script, img').length") == 0
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert complaints(tab) == []
    changed = tmp_path / "changed.html"
    changed.write_text(page.read_text().replace("<main>", "<main><script>window.broken = 1</script>", 1))
    tab.open(changed)
    tab.until("document.readyState === 'complete' && document.querySelector('script') !== null")
    assert tab.evaluate("typeof window.broken") == "undefined"


@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 24, 30)")])
def test_the_page_follows_the_readers_colours(tab: Tab, page: Path, tmp_path: Path, scheme: str, paper: str) -> None:
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    show(tab, page)
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == paper
    ink = tab.evaluate("getComputedStyle(document.body).color")
    assert tab.evaluate("getComputedStyle(document.querySelector('figure svg text')).fill") == ink
    assert ink != paper
    tab.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_fits_a_telephone(tab: Tab, page: Path) -> None:
    tab.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=False)
    show(tab, page)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
