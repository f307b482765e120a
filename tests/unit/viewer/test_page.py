"""The page on disk: all that is known is in it, hostile texts stay texts, and it is written whole or not at all."""

import base64
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_page import HOSTILE, Page
from tree_page import FRAME, hostile_tree, many_trees, node, small_tree

from treepo.tree import Tree
from treepo.viewer import DumpError, ShownTree, TreeRecord, shown_tree, write_page
from treepo.viewer import pieces as packing
from treepo.viewer.shown import align_pieces


def unpack(base64_text: str) -> list[dict[str, Any]]:
    return json.loads(gzip.decompress(base64.b64decode(base64_text)))


def index_of(page: Path) -> dict[str, Any]:
    return json.loads(Page.read(page).script("index"))


def trees_of(page: Path) -> list[dict[str, Any]]:
    """All trees of a page, in the order of the index."""
    rows = index_of(page)["rows"]
    folder = page.parent / "pieces"
    parsed = None if folder.is_dir() else Page.read(page)

    def piece(number: int) -> str:
        if parsed is not None:
            return parsed.script(f"piece-{number}")
        found = re.fullmatch(r'receive\((\d+),"([A-Za-z0-9+/=]+)"\);\n', (folder / f"{number}.js").read_text())
        assert found is not None
        assert int(found[1]) == number
        return found[2]

    opened = {number: unpack(piece(number)) for number in {row[-2] for row in rows}}
    return [opened[row[-2]][row[-1]] for row in rows]


@pytest.mark.parametrize("name", ["page.html", "page"])
def test_a_file_and_a_folder_hold_the_same_trees(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "PIECE", 2500)
    trees = list(many_trees(3, 2))
    written = write_page(trees, tmp_path / name, title="run")
    assert (written.trees, written.groups) == (6, 3)
    assert written.page == (tmp_path / "page.html" if name == "page.html" else tmp_path / "page" / "index.html")
    assert written.size == sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    rows = index_of(written.page)["rows"]
    assert 1 < len({row[-2] for row in rows}) < 6, "several pieces of several trees"
    found = trees_of(written.page)
    assert [tree["prompt"] for tree in found] == [tree.prompt for tree in trees]
    assert found[0]["nodes"][1] == {
        "id": 2,
        "parent": 0,
        "length": 3,
        "observed": 1,
        "pieces": ["four ", "is ", "seen "],
        "tokens": [10, 11, 12],
        "logProbs": [-1.0, -3.0, 0.0],
        "entropies": [0.25] * 3,
        "versions": [3, 3],
    }
    assert found[0]["trajectories"][1] == {
        "leaf": 3,
        "reason": "eos",
        "finishStep": 3,
        "accuracy": 0.0,
        "reward": -0.5,
        "fields": {"answer": None},
        "advantages": [-1.0, -1.0, -2.0],
    }


def test_the_index_says_what_the_list_shows(tmp_path: Path) -> None:
    other = small_tree("u2", "step 2", "3 plus 4?", ground_truth=["7", "seven"])
    unknown = [replace(leaf, accuracy=None) for leaf in other.trajectories]
    trees = [small_tree(), replace(other, trajectories=unknown)]
    assert index_of(write_page(trees, tmp_path / "p.html", title="run").page) == {
        "groups": ["step 1", "step 2"],
        # What the chat template puts around every question names none of them.
        "prompts": ["2 plus 2?", "3 plus 4?"],
        "rows": [
            [0, "u1", 0, "4", 3, 0.3333, 0.0, 5, 1, 1, 3, 12, 0, 0],
            [1, "u2", 1, '["7", "seven"]', 3, None, 0.0, 5, 1, 1, 3, 12, 0, 1],
        ],
    }


def test_fields_of_a_reward_function_are_text(tmp_path: Path) -> None:
    values = {"score": 1 / 3, "acc": True, "pred": "7", "none": None, "list": [1.0, "é"], "count": 3}
    tree = small_tree()
    tree = replace(tree, trajectories=[replace(leaf, fields=values) for leaf in tree.trajectories])
    (found,) = trees_of(write_page([tree], tmp_path / "p.html", title="run").page)
    assert found["trajectories"][0]["fields"] == {
        "score": "0.333333",
        "acc": "true",
        "pred": "7",
        "none": None,
        "list": '[1.0, "é"]',
        "count": "3",
    }


def test_a_long_prompt_is_listed_by_its_ends_and_is_whole_with_its_tree(tmp_path: Path) -> None:
    long = "begin " + "x" * 3000 + " end"
    page = write_page([small_tree(question=long), small_tree("u2")], tmp_path / "p.html", title="run").page
    listed = index_of(page)["prompts"][0]
    assert listed.startswith("begin x")
    assert listed.endswith("x end")
    assert len(listed) < 2100
    assert trees_of(page)[0]["prompt"] == long.join(FRAME)


def test_the_page_asks_nothing_of_the_network_and_runs_nothing_but_its_script(tmp_path: Path) -> None:
    for name, sources in (("p.html", 1), ("folder", 3)):
        page = Page.read(write_page([small_tree()], tmp_path / name, title="run").page)
        assert page.links == page.handlers == []
        policy = dict(part.split(" ", 1) for part in page.policy.split("; "))
        assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert len(policy["script-src"].split()) == sources
        assert "unsafe" not in page.policy
        assert [attributes.get("type") for attributes, _ in page.scripts].count(None) == 1


def test_hostile_text_adds_no_element_and_no_attribute(tmp_path: Path) -> None:
    hostile = Page.read(write_page([hostile_tree()], tmp_path / "hostile.html", title=HOSTILE).page)
    harmless = Page.read(write_page([small_tree()], tmp_path / "harmless.html", title="run").page)
    assert hostile.tags == harmless.tags
    assert hostile.handlers == hostile.links == []
    assert hostile.policy == harmless.policy
    assert hostile.script(None) == harmless.script(None)
    (tree,) = trees_of(tmp_path / "hostile.html")
    assert tree["nodes"][0]["pieces"] == [HOSTILE] * 4
    assert index_of(tmp_path / "hostile.html")["groups"] == [HOSTILE]


def test_half_a_surrogate_pair_is_written(tmp_path: Path) -> None:
    tree = replace(small_tree(), nodes=[node(1, None, "cut \ud83d off")] * 5)
    assert trees_of(write_page([tree], tmp_path / "p.html", title="run").page)[0]["nodes"][0]["pieces"][1] == "\ud83d "


def test_a_page_is_replaced_and_another_folder_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "view"
    write_page(many_trees(2, 1), place, title="run")
    write_page([small_tree()], place, title="run")
    assert len(index_of(place / "index.html")["rows"]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["view"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.html").write_text("mine")
    with pytest.raises(DumpError, match="other holds other files; name a new folder with --out"):
        write_page([small_tree()], tmp_path / "other", title="run")
    assert (tmp_path / "other" / "index.html").read_text() == "mine"


def test_a_page_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    def broken() -> Any:
        yield small_tree()
        raise DumpError("line 7")

    for place in (tmp_path / "view", tmp_path / "view.html"):
        before = write_page([small_tree()], place, title="run").page.read_bytes()
        with pytest.raises(DumpError, match="line 7"):
            write_page(broken(), place, title="run")
        assert (place if place.suffix else place / "index.html").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["view", "view.html"]


def test_no_tree_and_too_many_for_one_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DumpError, match="no tree to show"):
        write_page([], tmp_path / "view", title="run")
    monkeypatch.setattr("treepo.viewer.page.LARGEST_FILE", 100)
    with pytest.raises(
        DumpError, match="too many trees for one file; choose with --step or --prompt, or name a folder"
    ):
        write_page([small_tree()], tmp_path / "p.html", title="run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_dumped_tree_is_shown_whole(
    seed: int, grow: Callable[..., Tree], describe: Callable[..., TreeRecord]
) -> None:
    record = describe(grow(seed), piece=lambda token: "$" if token == 0 else chr(96 + token))
    tree: ShownTree = shown_tree(record)
    assert (tree.group, tree.uid, tree.ground_truth) == ("step 3", f"uid-{seed}", "42")
    for leaf, dumped in zip(tree.trajectories, record.trajectories, strict=True):
        path, place = [], leaf.leaf
        while place is not None:
            path.insert(0, tree.nodes[place])
            place = tree.nodes[place].parent
        assert tuple(one.id for one in path) == dumped.path.node_ids
        assert (leaf.accuracy, leaf.reward) == (float(bool(dumped.reward_extra["acc"])), dumped.reward)
    assert [one.text for one in tree.nodes] == ["".join(str(piece) for piece in one.pieces or ()) for one in tree.nodes]


@pytest.mark.parametrize(
    ("pieces", "text", "aligned"),
    [
        (["a", "b"], "ab", ["a", "b"]),
        (["a", "\ufffd", "\ufffd", "b"], "aéb", ["a", "é", None, "b"]),
        (["\ufffd"] * 4, "éé", ["éé", None, None, None]),
        (["\ufffd", "\ufffd", "\ufffd"], "語", ["語", None, None]),
        (["Hello", "world", "!"], "Hello world!", ["Hello", " world", "!"]),
        (["\ufffd", "b"], "\ufffdb", ["\ufffd", "b"]),
        (["a", "b"], "entirely other", ["a", "b"]),
        (["", "a"], "a", ["", "a"]),
    ],
    ids=["alike", "two bytes", "two characters", "three bytes", "lost spaces", "cut character", "other text", "empty"],
)
def test_a_nodes_text_is_shared_out_among_its_tokens(pieces: list[str], text: str, aligned: list[str | None]) -> None:
    assert align_pieces(pieces, text) == aligned
