"""What the page computes of a tree: values, places, colours, neighbours, and which prompts a filter leaves."""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from report_page import Page, run_node
from tree_page import many_trees, small_tree

from treepo.viewer import ShownTree, write_page
from treepo.viewer.pieces import plain_tree

SCRIPT = "\n".join(
    (files("treepo.viewer") / "templates" / name).read_text(encoding="utf-8") for name in ("model.js", "colours.js")
)


def evaluate(expression: str, tree: ShownTree | None = None, **names: Any) -> Any:
    """The value of an expression beside the page's functions; `tree` is grown under that name."""
    lines = [f"const {name} = {json.dumps(value)};" for name, value in names.items()]
    data = json.dumps(plain_tree(tree or small_tree()))
    return json.loads(
        run_node(
            f"{SCRIPT}\n{''.join(lines)}\nconst tree = growTree({data});\nconsole.log(JSON.stringify({expression}));"
        )
    )


def test_values_of_nodes_are_means_over_trajectories_and_over_what_the_model_wrote() -> None:
    found = evaluate("tree.nodes.map((node) => node.values)")
    prompt, first, right, wrong, last, fallback = found
    # The first trajectory: 4 tokens of 1, then 2 and 3, the observed one left out; then 4, 2, 1 and 4, 2 tokens.
    first_leaf, second_leaf, third_leaf = 9 / 6, (-4 - 2 - 2) / 7, -0.5
    assert prompt["advantage"] == pytest.approx((first_leaf + second_leaf + third_leaf) / 3)
    assert first["advantage"] == pytest.approx((1.0 - 1.0 - 0.5) / 3)
    assert right["advantage"] == 2.5
    assert [one["advantage"] for one in (wrong, last, fallback)] == [-1.0, -2.0, -0.5]
    assert [one["accuracy"] for one in found] == pytest.approx([1 / 3, 1 / 3, 1, 0, 0, 0])
    assert [one["reward"] for one in found] == [0, 0, 1, -0.5, -0.5, -0.5]
    assert prompt["logProb"] is None
    assert [one["logProb"] for one in found[1:]] == pytest.approx([-0.25, -2.0, -0.5, -0.5, -0.5])
    assert [one["entropy"] for one in found] == [None, 0.25, 0.25, 0.25, 0.25, 2.0]


def test_what_was_not_kept_is_null_and_has_no_scale() -> None:
    tree = small_tree()
    bare = ShownTree(
        group="g",
        uid="u",
        prompt="p",
        ground_truth=None,
        nodes=[type(one)(id=one.id, parent=one.parent, length=one.length) for one in tree.nodes],
        trajectories=[type(one)(leaf=one.leaf, reason="eos", from_fallback=False) for one in tree.trajectories],
    )
    assert evaluate("tree.nodes.flatMap((node) => Object.values(node.values))", bare) == [None] * 30
    assert evaluate("Object.keys(QUANTITIES).map((name) => scaleOf(tree, name, 'light').range)", bare) == [
        None,
        None,
        None,
        None,
        None,
    ]
    assert evaluate("nodeText(tree.nodes[1])", bare) is None


def test_a_fallback_begins_where_only_fallbacks_go() -> None:
    assert evaluate("tree.nodes.map((node) => node.fallbackBegins)") == [False] * 5 + [True]


def test_scales_have_a_middle_of_zero_for_advantages_and_the_ends_of_the_tree_for_others() -> None:
    assert evaluate("Object.keys(QUANTITIES).map((name) => scaleOf(tree, name, 'light').range)") == [
        [-2.5, 2.5],
        [0, 1],
        [-0.5, 1],
        [-2, 0],
        [0, 2],
    ]
    colours = evaluate("[-2.5, 0, 2.5, null].map((value) => scaleOf(tree, 'advantage', 'light').colour(value))")
    assert colours == ["rgb(168 74 0)", "rgb(221 226 232)", "rgb(15 81 156)", None]
    # Deeper is less likely.
    assert evaluate("[0, -2].map((value) => scaleOf(tree, 'logProb', 'light').colour(value))") == [
        "rgb(240 231 246)",
        "rgb(75 18 119)",
    ]


def test_a_tree_of_small_advantages_is_pale() -> None:
    tree = small_tree()
    leaves = [replace(leaf, advantages=[0.01] * len(leaf.advantages or ())) for leaf in tree.trajectories]
    scale = "scaleOf(tree, 'advantage', 'light')"
    assert evaluate(f"[{scale}.range, {scale}.colour(0.01)]", replace(tree, trajectories=leaves)) == [
        [-1, 1],
        "rgb(219 225 232)",
    ]


def test_every_leaf_has_a_line_and_nodes_reach_from_left_to_right_by_their_tokens() -> None:
    assert evaluate("[layRows(tree), tree.nodes.map((node) => node.row)]") == [3, [1, 1, 0, 1, 1, 2]]
    left_right = "(layRows(tree), layColumns(tree, 700, %s, 20), tree.nodes.map((node) => [node.left, node.right]))"
    assert evaluate(left_right % "true") == [[0, 0], [0, 400], [400, 700], [400, 600], [600, 700], [400, 600]]
    by_depth = evaluate(left_right % "false")
    assert by_depth[1:] == [
        [0, pytest.approx(700 / 3)],
        *[[pytest.approx(700 / 3), pytest.approx(1400 / 3)]] * 2,
        [pytest.approx(1400 / 3), pytest.approx(700)],
        [pytest.approx(700 / 3), pytest.approx(1400 / 3)],
    ]
    # Too little room: the narrowest width holds.
    assert evaluate("(layRows(tree), layColumns(tree, 7, true, 20))") == 60


def test_arrow_keys_lead_to_parent_child_and_the_next_node_of_the_same_depth() -> None:
    steps = """(() => {
      layRows(tree);
      const go = (from, key, leaf = 0) =>
        neighbour(tree, tree.nodes[from], `Arrow${key}`, tree.trajectories[leaf]).number;
      return [go(0, 'Left'), go(0, 'Right'), go(1, 'Right', 1), go(1, 'Left'), go(2, 'Down'),
        go(3, 'Down'), go(5, 'Down'), go(3, 'Up'), go(4, 'Right'), go(2, 'Up')];
    })()"""
    assert evaluate(steps) == [0, 1, 3, 0, 3, 5, 5, 2, 4, 2]


@pytest.mark.parametrize(
    ("chosen", "rows"),
    [
        ({}, [0, 1, 2, 3]),
        ({"group": "1"}, [2, 3]),
        ({"accuracy": "right"}, [1, 3]),
        ({"accuracy": "mixed"}, [0, 2]),
        ({"accuracy": "wrong"}, []),
        ({"accuracy": "unknown"}, []),
        ({"fallback": True}, [0, 2]),
        ({"words": "2 PLUS"}, [2, 3]),
        ({"words": "u2-1"}, [3]),
        ({"words": "4"}, [0, 1, 2, 3]),
        ({"words": "nowhere"}, []),
    ],
)
def test_a_filter_leaves_the_rows_that_fit(chosen: dict[str, object], rows: list[int], tmp_path: Path) -> None:
    page = write_page(many_trees(2, 2), tmp_path / "p.html", title="run").page
    index = json.loads(Page.read(page).script("index"))
    search = {"words": "", "group": "", "accuracy": "", "fallback": False, **chosen}
    found = "chosenRows(index, search).filter(([, named]) => named).map(([row]) => row)"
    assert evaluate(found, index=index, search=search) == rows


def test_responses_are_searched_across_nodes() -> None:
    words = ["add both FOUR", "or six", "needle", "both six", "plus"]
    data = plain_tree(small_tree())
    assert evaluate("words.map((one) => responsesHold(data, one))", data=data, words=words) == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_numbers_and_characters_that_mislead_are_readable() -> None:
    assert evaluate(
        "[number(null), number(-0.5), number(0.25, true), number(12345.6), number(2), number(0), number(-0.0001, true)]"
    ) == [
        "none",
        "−0.5",
        "+0.25",
        "12346",
        "2",
        "0",
        "0",
    ]
    text = "a\n\tb\u202ec\x00d\ud800e\u200df"
    assert evaluate("visible(text)", text=text) == "a\n\tb⟨202E⟩c⟨0000⟩d⟨D800⟩e\u200df"
