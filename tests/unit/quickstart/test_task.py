import random
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from treepo.datasets import check_table
from treepo.quickstart.chains import Chain, Change, Step, draw_chain, story, working
from treepo.quickstart.task import TaskSettings, held_out_chains, train_chains, write_task

SMALL = TaskSettings(train=60, held_out=20)
EQUATION = re.compile(r"(\d+) ([+-]) (\d+) = (\d+)")


def boxed(text: str) -> int:
    found = re.findall(r"\\boxed\{(\d+)\}", text)
    assert len(found) == 1
    return int(found[0])


@pytest.fixture(scope="module")
def chains() -> list[Chain]:
    rng = random.Random(0)
    return [draw_chain(rng, steps=steps, largest=60) for steps in range(2, 7) for _ in range(60)]


def test_the_right_working_ends_in_the_answer_and_every_equation_in_it_holds(chains: list[Chain]):
    for chain in chains:
        text = working(chain)
        assert boxed(text) == chain.answer
        equations = EQUATION.findall(text)
        assert len(equations) == len(chain.steps)
        for left, sign, right, result in equations:
            assert int(left) + (1 if sign == "+" else -1) * int(right) == int(result)


def test_stocks_stay_between_one_and_the_largest(chains: list[Chain]):
    for chain in chains:
        assert all(1 <= int(result) <= 60 for *_, result in EQUATION.findall(working(chain)))


def test_a_forgotten_carry_is_ten_off_and_carried_on():
    monday = Step(day="Monday", change=Change.BOUGHT, count=5)
    tuesday = Step(day="Tuesday", change=Change.SOLD, count=1)
    chain = Chain(name="Ana", thing="cups", start=17, steps=(monday, tuesday))
    text = working(chain, slips=random.Random(0), slip_chance=1.0)
    assert "17 + 5 = 12" in text
    assert "12 - 1 = 11" in text
    assert boxed(text) == 11 != chain.answer == 21


def test_a_pupil_who_never_slips_writes_the_right_working(chains: list[Chain]):
    assert all(working(chain, slips=random.Random(0), slip_chance=0.0) == working(chain) for chain in chains)


def test_one_seed_gives_one_task_and_another_seed_another(tmp_path: Path):
    first, again = write_task(tmp_path / "a", SMALL), write_task(tmp_path / "b", SMALL)
    other = write_task(tmp_path / "c", TaskSettings(train=60, held_out=20, seed=1))
    assert pq.read_table(first.train).equals(pq.read_table(again.train))
    assert pq.read_table(first.held_out).equals(pq.read_table(again.held_out))
    assert not pq.read_table(first.train).equals(pq.read_table(other.train))


def test_no_arithmetic_is_in_both_splits_or_twice_in_one():
    held_out = [chain.arithmetic for chain in held_out_chains(SMALL)]
    train = [chain.arithmetic for chain in train_chains(SMALL)]
    assert len({*held_out, *train}) == len(held_out) + len(train)


def test_rows_have_the_columns_that_verl_reads(tmp_path: Path):
    files = write_task(tmp_path, SMALL)
    for path, split, count, option in (
        (files.train, "train", 60, "data.train_files"),
        (files.held_out, "held_out", 20, "data.val_files"),
    ):
        check_table(path, option)
        rows = pq.read_table(path).to_pylist()
        assert [row["extra_info"]["index"] for row in rows] == list(range(count))
        for row in rows:
            assert [message["role"] for message in row["prompt"]] == ["user"]
            assert row["extra_info"]["split"] == split
            assert 2 <= row["extra_info"]["difficulty"] <= 6
            assert row["reward_model"]["style"] == "rule"
            assert int(row["reward_model"]["ground_truth"]) >= 1


def test_the_ground_truth_is_the_answer_of_the_story(tmp_path: Path):
    rows = pq.read_table(write_task(tmp_path, SMALL).train).to_pylist()
    for row, chain in zip(rows, train_chains(SMALL), strict=True):
        assert row["prompt"][0]["content"] == story(chain)
        assert row["reward_model"]["ground_truth"] == str(chain.answer)
