"""Benchmarks and prompts: names and paths, ids, and nothing that is dropped without a word."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from treepo.config import ConfigError
from treepo.evaluation.ask.benchmarks import Benchmark, BenchmarkFile, find_benchmarks, load_benchmark
from treepo.evaluation.ask.prompt_templates import PromptTemplate
from treepo.evaluation.ask.prompts import make_prompts, read_template

TEMPLATE = "{{ messages }}"


def row(question: str, truth: str = "2", **extra: Any) -> dict[str, Any]:
    return {
        "data_source": "tests/sums",
        "prompt": [{"role": "user", "content": question}],
        "reward_model": {"style": "rule", "ground_truth": truth},
        **({"extra_info": extra} if extra else {}),
    }


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def load(path: Path) -> Benchmark:
    return load_benchmark(find_benchmarks([str(path)], Path("nowhere"))[0])


class LetterTokenizer:
    """A token per letter of the last message."""

    chat_template: Any = TEMPLATE

    def apply_chat_template(self, conversation: Any, **options: Any) -> list[int]:
        assert options == {
            "chat_template": TEMPLATE,
            "add_generation_prompt": True,
            "tokenize": True,
            "return_dict": False,
        }
        if conversation[-1]["content"] == "bad":
            raise TypeError("no such role")
        return list(conversation[-1]["content"].encode())

    def decode(self, token_ids: Any, **options: Any) -> str:
        return bytes(token_ids).decode()


def test_a_set_is_found_by_its_name_with_its_published_weight(tmp_path: Path) -> None:
    write(tmp_path / "olympiad_bench.parquet", [row("1 + 1?")])
    (found,) = find_benchmarks(["olympiad_bench"], tmp_path)
    assert found == BenchmarkFile(name="olympiad_bench", path=tmp_path / "olympiad_bench.parquet", published_weight=675)
    assert load_benchmark(found).weight == 675


def test_any_file_in_verls_layout_is_a_benchmark_that_weighs_its_questions(tmp_path: Path) -> None:
    found = load(write(tmp_path / "held out.parquet", [row("1 + 1?"), row("2 + 2?", '["4", "four"]')]))
    assert (found.name, found.weight) == ("held_out", 2)
    assert [question.id for question in found.questions] == ["0", "1"]
    assert [question.truths for question in found.questions] == [("2",), ("4", "four")]
    assert {question.data_source for question in found.questions} == {"tests/sums"}


@pytest.mark.parametrize(
    ("names", "ids"), [(["a", "b"], ["a", "b"]), (["a", "a"], ["0", "1"]), (["a", ""], ["0", "1"])]
)
def test_a_sources_own_ids_are_kept_where_they_tell_questions_apart(
    tmp_path: Path, names: list[str], ids: list[str]
) -> None:
    found = load(write(tmp_path / "set.parquet", [row("1 + 1?", id=name) for name in names]))
    assert [question.id for question in found.questions] == ids


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["math_50"], "evaluation.benchmarks: no set or group is called math_50; did you mean math_500"),
        (["math_500"], "does not exist; `treepo data prepare math_500` makes it"),
        (["/nowhere/x.parquet"], "evaluation.benchmarks: /nowhere/x.parquet does not exist"),
    ],
)
def test_a_missing_benchmark_is_one_line_with_a_remedy(tmp_path: Path, names: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        find_benchmarks(names, tmp_path)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    files = [str(write(tmp_path / place / "set.parquet", [row("1 + 1?")])) for place in ("a", "b")]
    with pytest.raises(ConfigError, match="are both called set"):
        find_benchmarks(files, tmp_path)


def test_a_ground_truth_that_cannot_be_compared_with_is_refused_with_its_row(tmp_path: Path) -> None:
    path = write(tmp_path / "set.parquet", [row("1 + 1?")] * 70 + [row("2 + 2?", " ")])
    with pytest.raises(ConfigError, match=r"set.parquet row 70: .*ground_truth"):
        load(path)


def test_a_row_without_a_chat_behind_the_first_ones_is_refused_with_its_number(tmp_path: Path) -> None:
    path = write(tmp_path / "set.parquet", [row("1 + 1?")] * 70 + [{**row("2 + 2?"), "prompt": None}])
    with pytest.raises(ConfigError, match=r"set.parquet row 70: "):
        load(path)


def test_prompts_that_are_too_long_are_named_and_no_others_left_out(tmp_path: Path) -> None:
    found = load(write(tmp_path / "set.parquet", [row("short"), row("x" * 11), row("y" * 10)]))
    prompts = make_prompts(found, LetterTokenizer(), put=PromptTemplate(name="ours"), template=TEMPLATE, longest=10)
    assert prompts.too_long == ("1",)
    assert [(prompt.question.id, prompt.text) for prompt in prompts.prompts] == [("0", "short"), ("2", "y" * 10)]
    assert prompts.prompts[0].tokens == tuple(b"short")
    with pytest.raises(ConfigError, match=r"every prompt of set is longer than evaluation.prompt_length=4"):
        make_prompts(found, LetterTokenizer(), put=PromptTemplate(name="ours"), template=TEMPLATE, longest=4)


def test_a_template_that_refuses_a_question_is_one_line(tmp_path: Path) -> None:
    found = load(write(tmp_path / "set.parquet", [row("good"), row("bad")]))
    with pytest.raises(ConfigError, match="set question 1: the chat template refuses its messages: no such role"):
        make_prompts(found, LetterTokenizer(), put=PromptTemplate(name="ours"), template=TEMPLATE, longest=10)


def test_the_template_is_the_tokenizers_or_a_file(tmp_path: Path) -> None:
    tokenizer = LetterTokenizer()
    assert read_template(None, tokenizer) == TEMPLATE
    (tmp_path / "own.jinja").write_text("own")
    assert read_template(str(tmp_path / "own.jinja"), tokenizer) == "own"
    with pytest.raises(ConfigError, match=r"evaluation.chat_template=/nowhere does not exist"):
        read_template("/nowhere", tokenizer)
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="has no chat template"):
        read_template(None, tokenizer)


def test_the_first_questions_alone_are_taken_with_the_ids_that_all_have(tmp_path: Path) -> None:
    path = write(tmp_path / "sums.parquet", [row("1?", id="a"), row("2?", id="b"), row("3?", id="c")])
    (file,) = find_benchmarks([str(path)], tmp_path)
    assert [question.id for question in load_benchmark(file, most=2).questions] == ["a", "b"]
    assert load_benchmark(file, most=2).weight == 2
    assert load_benchmark(file, most=9) == load_benchmark(file)
