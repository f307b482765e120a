"""The study of gradients: its values and true gradients are true, and its measures find what must hold."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from training_run import ROOT

from benchmarks.gradient import __main__ as command
from benchmarks.gradient import arms, measure, process, store, table

TINY = process.Process(name="tiny", lines=(2,), chances=(0.3, 0.1), mend=0.4, width=4)
IDLE = process.Process(name="tiny idle", lines=(2,), chances=(0.3,), idle=1, width=4)
BY_NAME = {arm.name: arm for arm in arms.ARMS}
SHAPES = {shape.name: shape for shape in arms.SHAPES}


def value_by_enumeration(one: process.Process, prompt: int) -> float:
    """The expected reward over all ways that a response may go."""
    chance, total = one.chance_of(prompt), 0.0
    places = [
        p for p in range(process.LINE * one.lines_of(prompt)) if process.is_slip_place(p) or process.is_mend_place(p)
    ]
    for outcome in itertools.product((False, True), repeat=len(places)):
        probability, slipped = 1.0, False
        for place, happens in zip(places, outcome, strict=True):
            if process.is_slip_place(place):
                probability *= chance if happens else 1 - chance
                slipped = slipped or (happens and place // process.LINE >= one.idle)
            elif slipped:
                probability *= one.mend if happens else 1 - one.mend
                slipped = not happens
            elif happens:
                probability = 0.0  # there is nothing to mend
        total += probability * (-1 if slipped else 1)
    return total


@pytest.mark.parametrize("one", [TINY, IDLE], ids=lambda one: one.name)
@pytest.mark.parametrize("prompt", [0, 1])
def test_the_value_of_a_prompt_is_that_of_all_responses_enumerated(one: process.Process, prompt: int) -> None:
    assert process.values(one, prompt)[0, 0] == pytest.approx(value_by_enumeration(one, prompt), abs=1e-12)


def shifted(chance: float, by: float) -> float:
    """The chance whose logit is moved."""
    return 1 / (1 + math.exp(-(math.log(chance / (1 - chance)) + by)))


def test_the_true_gradient_is_the_slope_of_the_value() -> None:
    step, slopes = 1e-5, []
    for slip, mend in ((step, 0.0), (0.0, step)):
        ends = [
            process.Process(
                name="moved", lines=(2,), chances=(shifted(0.3, sign * slip),), mend=shifted(0.4, sign * mend)
            )
            for sign in (-1, 1)
        ]
        low, high = (process.values(end, 0)[0, 0] for end in ends)
        slopes.append((high - low) / (2 * step))
    assert process.true_gradient(TINY, 0).sum(axis=1) == pytest.approx(slopes, abs=1e-8)
    assert process.true_gradient(IDLE, 0)[0].tolist()[0] == 0.0
    assert process.true_gradient(IDLE, 0)[0, 1] < 0


@pytest.mark.parametrize("shape", SHAPES)
def test_exact_baselines_and_the_other_branches_give_the_true_gradient_on_every_shape(shape: str) -> None:
    prompts = 400
    batch = process.grow_batch(TINY, SHAPES[shape].sampling(4), prompts=range(prompts), seed=0)
    assert np.bincount(batch.prompts).tolist() == [4] * prompts
    true = np.stack([process.true_gradient(TINY, prompt) for prompt in range(prompts)])
    for credit in (arms.exact_baselines, arms.exact_differences):
        off = process.gradients(batch, credit(batch)) - true
        error = off.std(axis=0, ddof=1) / math.sqrt(prompts)
        assert (np.abs(off.mean(axis=0)) < 4.5 * error + 1e-12).all()


def test_the_exact_differences_of_a_response_add_up_to_its_reward_less_the_value_of_its_prompt() -> None:
    batch = process.grow_batch(TINY, SHAPES["4 first"].sampling(4), prompts=range(6), seed=1)
    per_node = arms.exact_differences(batch)
    for index, row in enumerate(batch.rows):
        starts = np.cumsum([0, *row.node_lengths[:-1]])
        start_value = process.values(TINY, int(batch.prompts[index]))[0, 0]
        assert per_node[index, starts].sum() == pytest.approx(batch.rewards[index] - start_value)


@pytest.mark.parametrize("arm", arms.ARMS, ids=lambda arm: arm.name)
def test_every_credit_is_finite_and_leaves_the_padding_alone(arm: arms.Arm) -> None:
    one = process.Process(name="ragged", lines=(1, 2), width=4)
    batch = process.grow_batch(one, SHAPES["2 first"].sampling(4), prompts=range(8), seed=0)
    found = arm.credit(batch)
    assert np.isfinite(found).all()
    assert not found[batch.tokens == 0].any()


def test_group_credit_is_that_of_grpo() -> None:
    batch = process.grow_batch(TINY, SHAPES["independent"].sampling(4), prompts=range(30), seed=0)
    found = arms.grpo(batch)[:, 0]
    for prompt in range(30):
        own = batch.rewards[batch.prompts == prompt]
        expected = (own - own.mean()) / (own.std(ddof=1) + 1e-6)
        assert found[batch.prompts == prompt] == pytest.approx(expected)


def test_the_alignment_of_a_noisy_gradient_is_free_of_its_noise() -> None:
    draw = np.random.default_rng(0)
    true = np.array([1.0, 0.0])
    noisy = np.array([0.5, 0.5]) + draw.normal(scale=3.0, size=(20_000, 2))
    found = measure.alignment(noisy, true)
    assert found == pytest.approx(math.sqrt(0.5), abs=0.1)
    assert measure.alignment(np.array([[1.0, 0.0], [-1.0, 0.0]]), true) is None


def test_a_signal_is_a_mean_over_a_deviation_and_its_error_covers_it() -> None:
    draw = np.random.default_rng(0)
    found = [measure.signal(draw.normal(loc=1.5, size=100)) for _ in range(2000)]
    assert np.mean(found) == pytest.approx(1.5, abs=0.03)
    assert np.std(found) == pytest.approx(measure.signal_error(1.5, 100), rel=0.1)
    assert measure.signal(np.ones(5)) == 0.0


def test_the_ratio_of_signals_on_the_same_prompts_knows_what_they_share() -> None:
    draw = np.random.default_rng(0)
    samples = [draw.normal(loc=1.0, size=200) for _ in range(500)]
    found = [measure.squared_ratio(shared + draw.normal(scale=0.3, size=200), shared) for shared in samples]
    ratios, errors = np.array(found).T
    assert ratios.mean() == pytest.approx(1 / 1.09, abs=0.02)
    assert errors.mean() == pytest.approx(ratios.std(), rel=0.15)
    assert measure.squared_ratio(samples[0], samples[0]) == (1.0, 0.0)


def measured(arm: str, value: float) -> measure.Measure:
    return measure.Measure(
        arm=arm,
        prompts=100,
        signal=value,
        signal_error=0.1,
        alignment=1.0,
        over_grpo=1.0,
        over_grpo_error=0.1,
        by_part=[1.0] * 4,
    )


def test_worth_is_squared_signal_per_token() -> None:
    one, other = (measured("a", value) for value in (2.0, 1.0))
    ratio, half = measure.worth(one, 100, other, 200)
    assert ratio == pytest.approx(8.0)
    assert half == pytest.approx(1.96 * 2 * 8.0 * math.hypot(0.05, 0.1))


def test_the_command_measures_what_is_missing_and_reports_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["gradient", "--prompts", "6", "--process", "equal", "--shape", "4 first", "--results", str(tmp_path)]
    monkeypatch.setattr("sys.argv", asked)
    first: list[str] = []
    command.main(first.append)
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths] == [
        "equal_4_first-prompts6-seed0.json",
        "equal_independent-prompts6-seed0.json",
    ]
    assert {one.arm for one in store.load(paths[0]).measures} == set(BY_NAME)

    monkeypatch.setattr(command, "measure_cell", lambda *arguments, **options: pytest.fail("measured again"))
    again: list[str] = []
    command.main(again.append)
    assert again == first
    for name in BY_NAME:
        assert f"`{name}`" in first[0]
        assert f"`{name}`" in first[1]


def test_a_report_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["gradient", "--report", "--results", str(tmp_path)])
    said: list[str] = []
    command.main(said.append)
    assert said == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--process", "equl"], ["--shape", "5 first"]])
def test_a_name_that_is_not_known_is_refused(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gradient", *arguments])
    with pytest.raises(SystemExit):
        command.main()
    assert f"{arguments[1]!r} is not one of" in capsys.readouterr().err


def test_a_file_that_is_no_cell_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    for text in ("{", "[]", '{"process": "equal", "measures": []}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="is not a cell of this version"):
            store.load(path)


def test_the_page_holds_the_tables_of_the_stored_cells() -> None:
    page = (ROOT / "docs/credit_tables.md").read_text(encoding="utf-8")
    cells = [
        store.load(store.path_of(store.RESULTS, one.name, shape.name, prompts=600, seed=0))
        for one in process.PROCESSES
        for shape in arms.SHAPES
    ]
    assert table.summary_table(cells) in page
    for shape in ("2 first", "4 first, ramp"):
        assert table.same_trees_table(cells, shape) in page


def test_the_summary_takes_every_credit_on_its_best_shape() -> None:
    cells = [
        measure.Cell(
            process="equal",
            shape=shape,
            prompts=100,
            seed=0,
            generated=100.0,
            in_rows=100.0,
            measures=[measured(arm, value) for arm in BY_NAME],
        )
        for shape, value in (("independent", 1.0), ("2 first", 1.0), ("4 first", 2.0))
    ]
    assert "| `treepo` | 4.00 ± " in table.summary_table(cells)
    assert "(4 first)" in table.summary_table(cells)
