"""The page shows everything that was dumped, needs nothing but itself, and hostile texts stay texts."""

import base64
import hashlib
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from treepo.tree import FinishReason, Node, Trajectory, Tree
from treepo.viewer import Scores, TreeRecord, record_line, render_page, tree_record
from treepo.viewer.__main__ import app
from treepo.viewer.layout import Run, lay_out
from treepo.viewer.page import visible

Grow = Callable[..., Tree]
Describe = Callable[..., TreeRecord]

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "' autofocus onfocus='alert(1)",
    "</title></style></textarea><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp; <!-- --> ]]>",
    "\u202egnp.exe\u2066",
    "\x00\x1b[31m\x7f\ud800",
]


class Page(HTMLParser):
    """All elements with their attributes, and all text, of a page."""

    VOID = frozenset({"meta", "line"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.depths: dict[str, int] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.depths |= {str(value): len(self.open) for name, value in attrs if name == "id"}
        if tag not in self.VOID or (tag == "line" and self.get_starttag_text()[-2:] != "/>"):  # pyright: ignore[reportOptionalSubscript]
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "elements close in order"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.elements if name == tag and attributes.items() <= found.items()]

    @property
    def text(self) -> str:
        return "".join(self.texts)


def test_every_element_is_closed_and_every_token_shown_with_its_log_prob(grow: Grow, describe: Describe) -> None:
    record = describe(grow(), piece=lambda token: "$" if token == 0 else chr(96 + token))
    page = Page(render_page([record], title="trees"))
    assert page.open == []
    titles = [element["title"] for element in page.all("i")]
    expected = [
        f"token {token}, position {node.start + index}, log-prob {node.log_probs[index]:.4f}"
        for node in record.nodes
        for index, token in enumerate(node.tokens)
    ]
    assert sorted(str(title) for title in titles) == sorted(expected)
    for number, leaf in enumerate(record.trajectories):
        assert (
            f"trajectory {number}: reward {leaf.reward:+.3f}, {leaf.reason.value} in step {leaf.finish_step}"
            in page.text
        )
    assert "ground truth: 42" in page.text
    assert "weights 4 to 5" in page.text


def test_without_pieces_texts_and_token_ids_are_shown(grow: Grow, describe: Describe) -> None:
    record = describe(grow())
    page = Page(render_page([record], title="trees"))
    assert all(node.text in page.text for node in record.nodes)
    assert len(page.all("i")) == sum(len(node.tokens) for node in record.nodes)


def test_the_drawing_links_every_node_and_ends_every_trajectory_once(grow: Grow, describe: Describe) -> None:
    record = describe(grow(4))
    page = Page(render_page([record], title="trees"))
    anchors = {element["id"] for element in page.all("div") if "id" in element}
    links = [str(element["href"]) for element in page.all("a")]
    assert sorted(links) == sorted(f"#t0-n{node.id}" for node in record.nodes)
    assert {link.removeprefix("#") for link in links} == anchors


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_texts(grow: Grow, text: str) -> None:
    tree = grow()
    scores = [Scores(reward=0.0, reward_extra={text: text, "list": [text]}) for _ in tree.trajectories]
    hostile = Tree(prompt_id=text, prompt_tokens=tree.prompt_tokens, trajectories=tree.trajectories, stats=tree.stats)
    record = tree_record(
        hostile, step=0, scores=scores, decode=lambda tokens: text, piece=lambda token: text, ground_truth={text: text}
    )
    harmless = tree_record(
        tree,
        step=0,
        scores=[Scores(reward=0.0, reward_extra={"x": "x", "list": ["x"]}) for _ in tree.trajectories],
        decode=lambda tokens: "x",
        piece=lambda token: "x",
        ground_truth={"x": "x"},
    )
    html = render_page([record], title=text)
    page, plain = Page(html), Page(render_page([harmless], title="x"))
    assert page.open == []
    assert [(tag, sorted(found)) for tag, found in page.elements] == [
        (tag, sorted(found)) for tag, found in plain.elements
    ], "no text becomes an element or an attribute"
    assert visible(text) in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800]", html)
    html.encode("utf-8")


def test_the_page_loads_nothing_and_runs_its_own_script_alone(grow: Grow, describe: Describe) -> None:
    html = render_page([describe(grow())], title="trees")
    page = Page(html)
    assert "http:" not in html
    assert "https:" not in html
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base"}
        assert "src" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert str(attributes.get("href", "#")).startswith("#")
    (script,) = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in str(policy["content"])


def test_trees_can_be_filtered_by_step_and_prompt(grow: Grow, describe: Describe) -> None:
    records = [describe(grow(seed), step=step) for step in (10, 9) for seed in (1, 2)]
    page = Page(render_page(records, title="trees"))
    assert [(tree["data-step"], tree["data-prompt"]) for tree in page.all("section")] == [
        ("10", "uid-1"),
        ("10", "uid-2"),
        ("9", "uid-1"),
        ("9", "uid-2"),
    ]
    assert [element["value"] for element in page.all("option") if "value" in element] == ["", "", "uid-1", "uid-2"]
    assert len(page.all("option")) == 1 + 2 + 1 + 2


def chain(*leaves: tuple[list[int], float], **options: Any) -> TreeRecord:
    """Trajectories as (node ids, advantage); every node has one token."""
    return tree_record(
        Tree(
            prompt_id="p",
            prompt_tokens=[1],
            trajectories=tuple(
                Trajectory(
                    nodes=tuple(Node(id=node, tokens=[node], log_probs=[-1.0]) for node in nodes),
                    reason=FinishReason.EOS,
                    finish_step=1,
                    from_fallback=False,
                )
                for nodes, _ in leaves
            ),
            stats=options.pop("stats"),
        ),
        step=0,
        scores=[Scores(reward=advantage, advantages=[advantage] * len(nodes)) for nodes, advantage in leaves],
        decode=lambda tokens: "x",
    )


def one_leaf(grow: Grow, *nodes: Node, advantages: list[float] | None = None) -> TreeRecord:
    """A tree of one trajectory."""
    leaf = Trajectory(nodes=nodes, reason=FinishReason.EOS, finish_step=1, from_fallback=False)
    return tree_record(
        Tree(prompt_id="p", prompt_tokens=[1], trajectories=(leaf,), stats=grow().stats),
        step=0,
        scores=[Scores(reward=0.0, advantages=advantages)],
        decode=lambda tokens: "x",
    )


def ids(run: Run) -> list[int]:
    return [block.node.id for block in run.blocks]


def test_nodes_without_a_fork_are_one_run_and_an_end_in_between_parts_it(grow: Grow) -> None:
    # 1 - 2 - 3 - 4 with an end at 2, forks at 4 into 5 and 6; 7 hangs from the root
    record = chain(([1, 2], 1.0), ([1, 2, 3, 4, 5], 2.0), ([1, 2, 3, 4, 6], 4.0), ([7], -1.0), stats=grow().stats)
    first, second = lay_out(record)
    assert ids(first) == [1, 2]
    assert [leaf.number for leaf in first.leaves] == [0]
    (middle,) = first.children
    assert ids(middle) == [3, 4]
    assert [ids(child) for child in middle.children] == [[5], [6]]
    assert ids(second) == [7]
    assert [run.row for run in (*middle.children, second)] == [0, 1, 2]
    assert middle.row == 0.5
    assert (first.count, middle.count) == (3, 2)
    assert first.blocks[0].advantage == pytest.approx(7 / 3), "the mean of the trajectories through the node"
    assert middle.blocks[1].advantage == 3.0
    assert first.reward == pytest.approx(7 / 3)
    assert (middle.start, middle.length) == (2, 2)


def test_a_very_long_path_is_drawn(grow: Grow) -> None:
    record = chain((list(range(1, 1501)), 1.0), ([*range(1, 1500), 2000], -1.0), stats=grow().stats)
    assert render_page([record], title="long").count('id="t0-n') == 1501


def test_hundreds_of_forks_below_each_other_are_drawn_and_nest(grow: Grow) -> None:
    # 1 forks into 2 and 1001, 2 into 3 and 1002, and so on.
    forks = 400
    leaves = [([*range(1, fork + 1), 1000 + fork], 1.0) for fork in range(1, forks + 1)]
    page = Page(render_page([chain(*leaves, ([*range(1, forks + 2)], -1.0), stats=grow().stats)], title="deep"))
    assert page.open == []
    assert len(page.all("details", **{"class": "run"})) == 2 * forks + 1
    assert page.depths[f"t0-n{forks + 1}"] - page.depths["t0-n1"] == forks


def test_a_token_is_shaded_by_how_unlikely_it_was(grow: Grow) -> None:
    shades = {0.91: 0, 0.89: 1, 0.51: 1, 0.49: 2, 0.11: 2, 0.09: 3, 0.011: 3, 0.009: 4}
    record = one_leaf(grow, Node(id=1, tokens=[1] * len(shades), log_probs=[math.log(chance) for chance in shades]))
    marks = Page(render_page([record], title="shades")).all("i")
    assert [mark["class"] for mark in marks] == [f"s{shade}" for shade in shades.values()]


def test_a_trajectorys_advantage_is_the_mean_over_its_tokens_and_not_over_its_nodes(grow: Grow) -> None:
    nodes = (Node(id=1, tokens=[1] * 3, log_probs=[-1.0] * 3), Node(id=2, tokens=[1], log_probs=[-1.0]))
    (run,) = lay_out(one_leaf(grow, *nodes, advantages=[1.0, 2.0, 3.0, 6.0]))
    assert run.leaves[0].advantage == 3.0
    assert [block.advantage for block in run.blocks] == [2.0, 6.0]


def test_colours_follow_the_sign_of_the_advantage_and_grey_stands_for_none(grow: Grow) -> None:
    html = render_page([chain(([1], 2.0), ([2], -2.0), ([3], 0.0), stats=grow().stats)], title="colours")
    strokes = [element["stroke"] for element in Page(html).all("g")]
    assert strokes == ["rgb(37 99 200)", "rgb(205 55 45)", "rgb(190 190 190)"]
    tree = grow()
    bare = tree_record(tree, step=0, scores=[Scores(reward=0.0)] * 6, decode=lambda tokens: "x")
    assert {element["stroke"] for element in Page(render_page([bare], title="")).all("g")} == {"rgb(150 150 150)"}


def test_no_tree_is_no_page() -> None:
    with pytest.raises(ValueError, match="no tree to draw"):
        render_page([], title="")


@pytest.fixture
def dumped(tmp_path: Path, grow: Grow, describe: Describe) -> Path:
    file = tmp_path / "trees.jsonl"
    records = [describe(grow(seed), step=step) for step in (1, 2) for seed in (5, 6)]
    file.write_text("".join(map(record_line, records)), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("arguments", "drawn"),
    [
        ([], [("1", "uid-5"), ("1", "uid-6"), ("2", "uid-5"), ("2", "uid-6")]),
        (["--step", "2"], [("2", "uid-5"), ("2", "uid-6")]),
        (["--prompt", "uid-6"], [("1", "uid-6"), ("2", "uid-6")]),
        (["--step", "1", "--prompt", "uid-5"], [("1", "uid-5")]),
        (["--limit", "1"], [("1", "uid-5")]),
    ],
)
def test_the_command_draws_what_is_chosen(dumped: Path, arguments: list[str], drawn: list[tuple[str, str]]) -> None:
    out = dumped.parent / "new" / "tree.html"
    result = CliRunner().invoke(app, [str(dumped), "-o", str(out), *arguments])
    assert result.exit_code == 0, result.output
    trees = Page(out.read_text(encoding="utf-8")).all("section")
    assert [(tree["data-step"], tree["data-prompt"]) for tree in trees] == drawn
    assert ("3 more are left out" in result.stderr) == (arguments == ["--limit", "1"])


@pytest.mark.parametrize(
    ("content", "arguments", "complaint"),
    [
        (None, [], "No such file"),
        ("", [], "no tree"),
        ("{}\n", [], "line 1: format version none"),
        ("good", ["--step", "7"], "no tree with this step and prompt"),
    ],
)
def test_the_command_ends_with_one_line_where_there_is_nothing_to_draw(
    dumped: Path, tmp_path: Path, content: str | None, arguments: list[str], complaint: str
) -> None:
    file = dumped if content == "good" else tmp_path / "other.jsonl"
    if content not in (None, "good"):
        file.write_text(content)
    out = tmp_path / "tree.html"
    result = CliRunner().invoke(app, [str(file), "-o", str(out), *arguments])
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not out.exists()
