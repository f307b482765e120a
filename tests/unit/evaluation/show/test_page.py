"""The report's page without a browser: its parts under an HTML parser, its script's logic under Node.js."""

import base64
import gzip
import hashlib
import json
from pathlib import Path

import pytest
from evaluation_run import graded, plan, sample, write_run
from report_page import HOSTILE, Page, browsable_run, hostile_run, run_node

from treepo.evaluation import BenchmarkPlan
from treepo.evaluation.show.page_data import page_data, script_json, shorten
from treepo.evaluation.show.report import write_report

CORE = """
const data = JSON.parse(%(index)s);
const pieces = %(pieces)s;
const all = { benchmark: "", sampling: "", verdict: "", finish: "" };
(async () => { console.log(JSON.stringify(await (async () => { %(test)s })())); })();
"""


def in_node(page: Page, test: str) -> object:
    """What some JavaScript returns that finds the page's functions, its data and its pieces."""
    pieces = [text for attributes, text in page.scripts if (attributes.get("id") or "").startswith("piece-")]
    parts = {"index": json.dumps(page.script("index")), "pieces": json.dumps(pieces), "test": test}
    return json.loads(run_node(page.script(None) + CORE % parts))


@pytest.fixture(scope="module")
def browsable(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("run")
    return Page.read(write_report(browsable_run(folder), folder).page)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("run")
    return Page.read(write_report(hostile_run(folder), folder).page)


def test_hostile_text_makes_no_element_and_no_handler(hostile: Page, browsable: Page) -> None:
    assert hostile.handlers == []
    assert "img" not in hostile.tags
    assert [attributes for attributes, _ in hostile.scripts] == [attributes for attributes, _ in browsable.scripts]
    assert "window.broken = 1" in hostile.text


def test_hostile_text_is_read_back_letter_by_letter(hostile: Page) -> None:
    found = in_node(
        hostile,
        "const text = textStore(data.starts, (piece) => pieces[piece]);"
        "const question = data.questions[0];"
        "const row = data.rows[0];"
        "return [question[QUESTION.id], question[QUESTION.truths][0], row[ROW.answer], row[ROW.verdict],"
        " await text(question[QUESTION.prompt]), await text(row[ROW.text])];",
    )
    assert found == [HOSTILE] * 6


def test_the_page_asks_nothing_of_the_network(browsable: Page) -> None:
    assert "link" not in browsable.tags
    assert [link for link in browsable.links if not link.startswith("#")] == []


def test_nothing_but_the_pages_own_script_may_run(browsable: Page) -> None:
    digest = base64.b64encode(hashlib.sha256(browsable.script(None).encode()).digest()).decode()
    assert browsable.policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}';" in browsable.policy


def test_ids_of_the_plots_do_not_meet(browsable: Page) -> None:
    assert sorted(set(browsable.ids)) == sorted(browsable.ids)


@pytest.mark.parametrize(
    ("filter_", "count"),
    [
        ("{}", 48),
        ('{ benchmark: "sums" }', 24),
        ('{ sampling: "tree d=2" }', 24),
        ('{ verdict: "right" }', 24),
        ('{ verdict: "wrong" }', 24),
        ('{ verdict: "wrong", benchmark: "sums" }', 0),
        ('{ finish: "answered", benchmark: "more" }', 12),
    ],
)
def test_filters_leave_what_they_say(browsable: Page, filter_: str, count: int) -> None:
    assert in_node(browsable, f"return chosenRows(data, {{ ...all, ...{filter_} }}).length") == count


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        ("NEEDLE in the hay", [["more-2", 0, 1]]),
        ("more-1", [["more-1", sampling, index] for sampling in (0, 1) for index in range(4)]),
        ("prompt of sums-0", [["sums-0", sampling, index] for sampling in (0, 1) for index in range(4)]),
        ("13", [[f"more-{number}", sampling, 3] for number in range(3) for sampling in (0, 1)]),
        ("not there", []),
    ],
)
def test_the_search_finds_questions_prompts_answers_and_responses(
    browsable: Page, words: str, rows: list[list[object]]
) -> None:
    found = in_node(
        browsable,
        "const text = textStore(data.starts, (piece) => pieces[piece]);"
        f"const found = await searchRows(data, chosenRows(data, all), {json.dumps(words)}, text);"
        "return found.map((n) => data.rows[n]).map((row) =>"
        " [data.questions[row[ROW.question]][QUESTION.id], row[ROW.sampling], row[ROW.index]]);",
    )
    assert found == rows


def test_a_search_that_is_overtaken_ends(browsable: Page) -> None:
    many = "const numbers = Array.from({ length: 250 }, (_, n) => n % 48); let steps = 0;"
    text = "const text = textStore(data.starts, (piece) => pieces[piece]);"
    search = 'await searchRows(data, numbers, "x", text, async () => ++steps < 2)'
    assert in_node(browsable, f"{many}{text} return [{search}, steps];") == [None, 2]


def test_siblings_are_all_samples_of_the_question(browsable: Page) -> None:
    assert in_node(browsable, "return siblings(data, 3)") == list(range(8))


def test_a_text_is_found_in_its_piece_and_few_pieces_stay_open(browsable: Page) -> None:
    packed = [
        base64.b64encode(gzip.compress(json.dumps(texts).encode())).decode()
        for texts in (["a", "b"], ["c"], ["d", "e", "f"])
    ]
    found = in_node(
        browsable,
        f"const packed = {json.dumps(packed)}; const read = [];"
        "const text = textStore([0, 2, 3], (piece) => { read.push(piece); return packed[piece]; }, 2);"
        "let got = ''; for (const n of [0, 1, 2, 5, 4, 2, 3, 0]) got += await text(n);"
        "return [got, read];",
    )
    assert found == ["abcfecda", [0, 1, 2, 0]]


def test_where_samples_are_too_many_every_question_keeps_its_first(tmp_path: Path) -> None:
    samples = [one for number in range(3) for one in graded(f"q{number}", "++++", response="x" * 100)]
    run = write_run(tmp_path, plan(samples=4, benchmarks={"sums": BenchmarkPlan(questions=3, weight=3)}), samples)
    data = page_data(run, characters=750)
    rows = json.loads(data.index)["rows"]
    assert (data.shown, data.total) == (7, 12)
    assert [(row[0], row[2]) for row in rows] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_one_sample_is_shown_however_long(tmp_path: Path) -> None:
    run = write_run(tmp_path, plan(), [sample(response="x" * 100)])
    assert page_data(run, characters=1).shown == 1


def test_texts_are_split_into_pieces(tmp_path: Path) -> None:
    samples = graded("q0", "+" * 120, response="x" * 20_000)
    data = page_data(write_run(tmp_path, plan(samples=120), samples))
    index = json.loads(data.index)
    texts = [json.loads(gzip.decompress(base64.b64decode(piece))) for piece in data.pieces]
    assert len(texts) == 3
    assert index["starts"] == [0, len(texts[0]), len(texts[0]) + len(texts[1])]
    assert sum(map(len, texts)) == 121


def test_a_long_response_loses_its_middle() -> None:
    text = "a" * 14_000 + "b" * 1_234 + "c" * 6_000
    assert shorten(text) == "a" * 14_000 + "\n\n[… 1,234 characters left out …]\n\n" + "c" * 6_000
    assert shorten("x" * 20_000) == "x" * 20_000


def test_json_in_a_script_element_has_no_letter_that_ends_it() -> None:
    text = script_json({"text": HOSTILE})
    assert not set(text) & set("<>&\u2028\x00")
    assert json.loads(text) == {"text": HOSTILE}
