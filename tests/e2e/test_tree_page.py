"""The viewer's page in a headless Chromium: keys, clicks, search, colours, hostile text, five hundred steps."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browser import Tab, open_tab
from chromium import ABSENT, locate
from report_page import HOSTILE
from tree_page import hostile_tree, many_trees, small_tree

from treepo.viewer import pieces as packing
from treepo.viewer import write_page

CHROMIUM = locate()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=ABSENT)

SELECTED = "document.querySelector('.node.selected').getAttribute('aria-label').split(',')[0]"
TITLE = "document.getElementById('tree-title').textContent"
COUNT = "document.getElementById('count').textContent"
# HTML has no character 0, and the page shows what hides or turns text by its code point.
SHOWN = HOSTILE.replace("\x00", "⟨0000⟩").replace("\u202e", "⟨202E⟩")


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    assert CHROMIUM is not None
    with open_tab(CHROMIUM) as opened:
        for domain in ("Runtime", "Log", "Network"):
            opened.call(f"{domain}.enable")
        yield opened


@pytest.fixture
def tab(browser: Tab) -> Tab:
    """An empty page of a wide, light window, in which nothing has gone wrong yet."""
    browser.call("Page.enable")
    browser.call("Page.navigate", url="about:blank")
    browser.until("location.protocol === 'about:'")
    dress(browser, "light")
    browser.call("Emulation.setDeviceMetricsOverride", width=1400, height=900, deviceScaleFactor=1, mobile=False)
    browser.forget()
    return browser


def dress(tab: Tab, scheme: str) -> None:
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


def show(tab: Tab, page: Path, address: str = "") -> None:
    tab.open(page)
    if address:
        tab.evaluate(f"location.hash = {address!r}")
    tab.until("document.querySelector('.node.selected') !== null")


def press(tab: Tab, *keys: str) -> None:
    for key in keys:
        # A dialog closes by the number of the key.
        more = {"text": key} if len(key) == 1 else {"windowsVirtualKeyCode": 27} if key == "Escape" else {}
        tab.call("Input.dispatchKeyEvent", type="keyDown", key=key, **more)
        tab.call("Input.dispatchKeyEvent", type="keyUp", key=key)


def choose(tab: Tab, name: str, value: str) -> None:
    tab.evaluate(
        f"(() => {{ const field = document.getElementById('{name}'); field.value = '{value}';"
        " field.dispatchEvent(new Event('change')); field.dispatchEvent(new Event('input')); })()"
    )


def pieces_read(tab: Tab) -> int:
    return sum("/pieces/" in url for url in tab.requested())


def fills(tab: Tab) -> list[str]:
    return tab.evaluate("[...document.querySelectorAll('#canvas .bar')].map((bar) => bar.style.fill)")


def test_a_reader_walks_through_prompts_nodes_and_trajectories_by_keys(tab: Tab, tmp_path: Path) -> None:
    show(tab, write_page(many_trees(2, 2), tmp_path / "run", title="run").page)
    assert tab.evaluate(TITLE) == "step 1: 1 plus 0?"
    assert tab.evaluate(SELECTED) == "prompt"
    press(tab, "ArrowRight")
    assert tab.evaluate(SELECTED) == "node 1"
    press(tab, "ArrowRight", "ArrowDown")
    assert tab.evaluate(SELECTED) == "node 3"
    assert tab.evaluate("document.activeElement === document.querySelector('.node.selected')")
    press(tab, "ArrowDown")
    assert tab.evaluate(SELECTED) == "node 5"
    assert tab.evaluate("document.getElementById('path-title').textContent") == "Trajectory 3 of 3, from a fallback"
    press(tab, "[")
    assert tab.evaluate(SELECTED) == "node 4"
    press(tab, "]", "]", "ArrowLeft")
    assert tab.evaluate(SELECTED) == "node 1"
    press(tab, "n")
    tab.until(f"{TITLE} === 'step 1: 1 plus 1?'")
    press(tab, "n", "n", "n")
    tab.until(f"{TITLE} === 'step 2: 2 plus 1?'")
    press(tab, "p")
    tab.until(f"{TITLE} === 'step 2: 2 plus 0?'")
    assert tab.evaluate("document.querySelector('#list [aria-selected=true] .words').textContent") == "2 plus 0?"
    press(tab, "?")
    assert tab.evaluate("document.getElementById('help').open")
    press(tab, "n", "Escape")
    tab.until("!document.getElementById('help').open")
    assert tab.evaluate(TITLE) == "step 2: 2 plus 0?"
    press(tab, "/")
    assert tab.evaluate("document.activeElement.id") == "search"
    press(tab, "n", "Escape")
    assert tab.evaluate("document.getElementById('search').value") == "n"
    assert tab.evaluate("document.activeElement.id") != "search"
    assert tab.complaints() == []


def test_the_path_is_shown_node_by_node_with_what_it_shares_turns_and_observations(tab: Tab, tmp_path: Path) -> None:
    show(tab, write_page([small_tree()], tmp_path / "page.html", title="run").page)
    heads = (
        "[...document.querySelectorAll('.segment .head')].map((head) => [...head.children].map((e) => e.textContent))"
    )
    assert tab.evaluate(heads) == [
        ["node 1", "depth 1 · tokens 0 to 3", "shared by 3 of 3", "● forks into 3", "advantage −0.167"],
        ["node 2", "depth 2 · tokens 4 to 6", "its own", "advantage +2.5"],
    ]
    texts = "[...document.querySelectorAll('.segment:not(.prompt) .text')].map((e) => [e.className, e.textContent])"
    assert tab.evaluate(texts) == [
        ["text ", "let us add both "],
        ["text ", "four is "],
        ["text observation", "observationseen "],
    ]
    assert tab.evaluate("[...document.querySelectorAll('#segments h3')].map((e) => e.textContent)") == ["turn 1"]
    assert tab.evaluate("document.querySelectorAll('#canvas .observed').length") == 1
    assert tab.evaluate("document.querySelectorAll('#canvas .fork').length") == 1
    assert tab.evaluate("document.querySelectorAll('#canvas .link.fallback').length") == 1
    leaves = "[...document.querySelectorAll('#canvas .leaf')].map((leaf) => leaf.textContent)"
    assert tab.evaluate(leaves) == ["✓ answered", "✗ −0.5 eos", "✗ −0.5 max tokens ↺"]
    tab.evaluate(
        "document.querySelector('[data-node=\"2\"] .token').dispatchEvent(new Event('pointerover', {bubbles: true}))"
    )
    assert tab.evaluate("document.getElementById('token').textContent") == (
        "token 10, position 4, log-prob −1, entropy 0.25, advantage +2"
    )
    tab.evaluate("document.querySelectorAll('#canvas .node')[5].dispatchEvent(new Event('click'))")
    assert tab.evaluate(SELECTED) == "node 5"
    assert tab.evaluate("document.querySelectorAll('.segment .head').length") == 2
    assert tab.complaints() == []


def test_nodes_are_coloured_by_the_chosen_quantity_and_the_legend_says_its_range(tab: Tab, tmp_path: Path) -> None:
    bare = small_tree("u2", "step 2", nodes=[replace(one, entropies=None) for one in small_tree().nodes])
    show(tab, write_page([small_tree(), bare], tmp_path / "page.html", title="run").page)
    legend = "[low, high, unknown].map((part) => (part.hidden ? null : part.textContent))"
    assert tab.evaluate(legend) == ["−2.5", "+2.5", ""]
    advantage = fills(tab)
    assert advantage[2] == "rgb(15, 81, 156)"
    press(tab, "c")
    assert tab.evaluate("document.getElementById('quantity').value") == "accuracy"
    assert tab.evaluate(legend) == ["0", "1", ""]
    assert fills(tab)[2:] == ["rgb(15, 81, 156)", *["rgb(168, 74, 0)"] * 3]
    choose(tab, "quantity", "logProb")
    assert tab.evaluate(legend) == ["−2", "0", ""]
    assert fills(tab)[0] == "", "the prompt has no log-prob"
    shades = tab.evaluate("[...document.querySelectorAll('.token')].map((token) => token.style.background)")
    assert len(set(shades)) == 7, "six tokens of the path differ, and what was observed has no colour"
    choose(tab, "quantity", "entropy")
    assert tab.evaluate(legend) == ["0", "2", ""]
    dark_at_night = fills(tab)
    dress(tab, "dark")
    tab.until(f"document.querySelectorAll('#canvas .bar')[5].style.fill !== '{dark_at_night[5]}'")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 30)"
    press(tab, "n")
    tab.until(f"{TITLE}.startsWith('step 2')")
    low, high, unknown = tab.evaluate(legend)
    assert (low, high) == (None, None)
    assert unknown.startswith("no entropies: dumps hold them from format 4 on")
    assert set(fills(tab)) == {""}
    assert tab.complaints() == []


def test_search_and_filters_leave_the_prompts_that_fit_and_mark_what_was_found(tab: Tab, tmp_path: Path) -> None:
    show(tab, write_page(many_trees(3, 2), tmp_path / "run", title="run").page)
    assert tab.evaluate(COUNT) == "6 trees"
    choose(tab, "search", "2 PLUS")
    tab.until(f"{COUNT} === '2 of 6 trees'")
    choose(tab, "search", "needle")
    tab.until(f"{COUNT} === '0 of 6 trees'")
    tab.evaluate("document.getElementById('responses').click()")
    tab.until(f"{COUNT} === '6 trees'")
    choose(tab, "accuracy", "mixed")
    tab.until(f"{COUNT} === '3 of 6 trees'")
    choose(tab, "group", "2")
    tab.until(f"{COUNT} === '1 of 6 trees'")
    press(tab, "n")
    tab.until(f"{TITLE} === 'step 3: 3 plus 0?'")
    hits = "[...document.querySelectorAll('.node.hit')].map((node) => node.getAttribute('aria-label').split(',')[0])"
    assert tab.evaluate(hits) == ["node 5"]
    press(tab, "]", "]")
    assert tab.evaluate("[...CSS.highlights.get('found')].map((range) => range.toString())") == ["needle"]
    choose(tab, "accuracy", "")
    tab.evaluate("document.getElementById('fallback').click()")
    tab.until(f"{COUNT} === '1 of 6 trees'")
    assert tab.complaints() == []


@pytest.mark.parametrize("name", ["page.html", "folder"])
def test_hostile_text_is_shown_and_does_nothing(tab: Tab, tmp_path: Path, name: str) -> None:
    show(tab, write_page([hostile_tree()], tmp_path / name, title=HOSTILE).page)
    press(tab, "ArrowRight")
    assert tab.evaluate("document.querySelector('.segment.selected .token').textContent") == SHOWN
    assert SHOWN in tab.evaluate("document.querySelector('.segment.prompt .text').textContent")
    assert SHOWN in tab.evaluate("document.getElementById('facts').textContent")
    assert tab.evaluate(TITLE).startswith(f"{SHOWN}: ")
    assert re.sub(r"\s+", " ", SHOWN) in tab.evaluate(TITLE)
    assert tab.evaluate("typeof window.broken") == "undefined"
    assert tab.evaluate("document.querySelectorAll('img').length") == 0
    assert tab.complaints() == []


def test_a_script_that_slipped_in_could_not_run(tab: Tab, tmp_path: Path) -> None:
    page = write_page([small_tree()], tmp_path / "page.html", title="run").page
    page.write_text(page.read_text().replace("<main>", "<main><script>window.broken = 1</script>", 1))
    show(tab, page)
    assert tab.evaluate("typeof window.broken") == "undefined"
    assert any("Content Security Policy" in str(complaint) for complaint in tab.complaints())


def test_the_address_leads_back_to_the_node_and_a_lost_piece_is_said(tab: Tab, tmp_path: Path) -> None:
    page = write_page(many_trees(2, 1), tmp_path / "run", title="run").page
    show(tab, page, "group=step+2&uid=u2-0&node=5&trajectory=2&colour=entropy")
    tab.until(f"{SELECTED} === 'node 5'")
    assert tab.evaluate(TITLE) == "step 2: 2 plus 0?"
    assert tab.evaluate("document.getElementById('quantity').value") == "entropy"
    press(tab, "ArrowLeft")
    assert "node=1&trajectory=2&colour=entropy" in tab.evaluate("location.hash")
    assert tab.complaints() == []
    (page.parent / "pieces" / "0.js").unlink()
    tab.call("Page.reload")
    tab.until("document.getElementById('problem')?.textContent.includes('pieces/0.js, which belongs to this page')")


def test_five_hundred_steps_are_listed_and_only_what_is_looked_at_is_read(
    tab: Tab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "PIECE", 100_000)
    show(tab, write_page(many_trees(500, 8), tmp_path / "run", title="run").page)
    assert tab.evaluate(COUNT) == "4000 trees"
    assert tab.evaluate("document.querySelectorAll('#list [role=option]').length") < 60
    assert pieces_read(tab) == 1
    tab.evaluate("document.getElementById('list').scrollTop = 1e9")
    tab.until("[...document.querySelectorAll('#list .words')].at(-1).textContent === '500 plus 7?'")
    tab.evaluate("[...document.querySelectorAll('#list [role=option]')].at(-1).click()")
    tab.until(f"{TITLE} === 'step 500: 500 plus 7?'")
    assert pieces_read(tab) == 2
    assert tab.complaints() == []


def test_the_page_fits_a_telephone(tab: Tab, tmp_path: Path) -> None:
    tab.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=False)
    show(tab, write_page([small_tree()], tmp_path / "page.html", title="run").page)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
