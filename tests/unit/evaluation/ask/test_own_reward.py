"""A reward function of the user's: found and called as verl calls one, and one line for whatever it does wrong."""

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scripted_generator import ScriptedGenerator, Silent, plan_of, prompts, work

from treepo.config import ConfigError
from treepo.evaluation import RunWriter, StoredRun
from treepo.evaluation.ask.benchmarks import Question, find_benchmarks, load_benchmark
from treepo.evaluation.ask.own_reward import OwnReward, RewardError, load_reward
from treepo.evaluation.ask.run import evaluate
from treepo.rewards.judge import Judge

REWARD = """
def compute_score(data_source, solution_str, ground_truth, extra_info, **kwargs):
    assert not kwargs
    right = extra_info["level"] == 3 and ground_truth == {"words": ["a", "b"]} and data_source == "tests/words"
    return {"score": 0.5, "acc": float(right and solution_str == "a b"), "pred": solution_str}


async def later(data_source, solution_str, ground_truth, extra_info):
    return len(solution_str) / 10
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "reward.py"
    path.write_text(REWARD)
    return path


def question() -> Question:
    return Question(
        benchmark="words",
        id="0",
        data_source="tests/words",
        messages=(),
        truths=("?",),
        ground_truth={"words": ["a", "b"]},
        extra_info={"level": 3},
    )


def test_a_function_gets_what_verl_gives_it_and_its_acc_counts_before_its_score(file: Path) -> None:
    reward = load_reward(str(file), threshold=1.0)
    assert reward.judge(question(), "a b") == (True, "a b")
    assert reward.judge(question(), "b a") == (False, "b a")


def test_a_coroutine_function_is_awaited_and_the_threshold_decides(file: Path) -> None:
    assert load_reward(f"{file}:later", threshold=0.5).judge(question(), "12345") == (True, None)
    assert load_reward(f"{file}:later", threshold=0.6).judge(question(), "12345") == (False, None)


def test_a_module_of_a_package_is_found_by_its_name() -> None:
    reward = load_reward("pkg://treepo.rewards.math:compute_score", threshold=1.0)
    sums = Question(benchmark="sums", id="0", data_source="sums", messages=(), truths=("2",), ground_truth="2")
    assert reward.judge(sums, r"it is \boxed{2}") == (True, "2")
    assert reward.digest == load_reward("pkg://treepo.rewards.math", threshold=1.0).digest


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("nowhere.py", "cannot be imported (FileNotFoundError: nowhere.py does not exist)"),
        ("pkg://treepo.nowhere:score", "cannot be imported (ModuleNotFoundError"),
        ("pkg://treepo.rewards.math:nothing", "math.py defines no function nothing"),
    ],
)
def test_a_function_that_is_not_there_is_one_line(option: str, line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_reward(option, threshold=1.0)
    assert str(refused.value).startswith(f"evaluation.reward_function={option} ")
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_does_not_run_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def (")
    with pytest.raises(ConfigError, match=r"cannot be imported \(SyntaxError"):
        load_reward(str(tmp_path / "broken.py"), threshold=1.0)


@pytest.mark.parametrize("found", [None, "right", {"correct": 1}, math.nan, {"acc": None}])
def test_what_is_no_score_is_refused(found: object) -> None:
    reward = OwnReward(name="mine.py", digest="", function=lambda **_: found, threshold=1.0)
    with pytest.raises(RewardError, match=r"evaluation\.reward_function=mine\.py returned .*; it must return a number"):
        reward.judge(question(), "a b")


def test_ground_truths_of_any_kind_are_read_for_it(tmp_path: Path) -> None:
    row = {
        "data_source": "tests/words",
        "prompt": [{"role": "user", "content": "Say a b"}],
        "reward_model": {"style": "rule", "ground_truth": {"words": ["a", "b"]}},
        "extra_info": {"level": 3},
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "words.parquet")
    (found,) = find_benchmarks([str(tmp_path / "words.parquet")], tmp_path)
    (asked,) = load_benchmark(found, own_reward=True).questions
    assert (asked.ground_truth, asked.extra_info) == ({"words": ["a", "b"]}, {"level": 3})
    assert asked.truths == ('{"words": ["a", "b"]}',)
    with pytest.raises(ConfigError, match=r"words\.parquet row 0: .*ground_truth"):
        load_benchmark(found)


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    found = Judge()
    yield found
    found.close()


def test_a_run_stores_its_verdicts_and_a_prompt_that_it_raises_on_fails(tmp_path: Path, judge: Judge) -> None:
    def odd(*, solution_str: str, extra_info: dict, **_: object) -> float:
        if extra_info.get("bad"):
            raise KeyError("no such thing")
        return float("3" in solution_str)

    found = prompts("sums", 3)
    bad = found.prompts[2]
    object.__setattr__(bad.question, "extra_info", {"bad": True})
    asked = work(
        prompts={"sums": found},
        trees={},
        own_reward=OwnReward(name="odd.py", digest="", function=odd, threshold=1.0),
        max_failures=9,
    )
    with RunWriter(tmp_path, plan_of(asked, samplings=("independent",))) as writer:
        failures = asyncio.run(evaluate(asked, ScriptedGenerator(), writer, judge=judge, progress=Silent()))
    samples = list(StoredRun(tmp_path).samples("sums"))
    assert {sample.question for sample in samples} == {"q0", "q1"}
    assert all(sample.correct == ("3" in sample.response) for sample in samples)
    assert {(sample.verdict, sample.answer) for sample in samples} == {("reward_function", None)}
    assert {failure.question for failure in failures} == {"q2"}
    assert "evaluation.reward_function=odd.py raised KeyError" in failures[0].why
