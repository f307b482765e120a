"""The update's benchmark: rows share what is asked for, tables say what was measured, logs are read as they are."""

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.update.cell import Arm, Cell, Kind, Measured, Outcome, Part, grow, of_lengths, of_prompt, of_ratio
from benchmarks.update.profiles import PROFILES, RATIO, described
from benchmarks.update.shapes import SHAPES
from benchmarks.update.step import PHASES, STEP_ARMS, read_steps, step_table
from benchmarks.update.table import COLUMNS, goals, reached, speed_up, table, too_far_apart
from treepo.packing import lay_out

VOCABULARY = 128


def packed_ratio(cell: Cell) -> float:
    rows = grow(cell, seed=0, vocabulary=VOCABULARY)
    assert rows.lengths.tolist() == [cell.row_length] * cell.prompts * cell.width
    assert set(rows.prompt_lengths.tolist()) == {cell.prompt_length}
    return len(lay_out(rows)) / cell.row_tokens


@given(ratio=st.floats(0.3, 0.95), width=st.integers(8, 64), row_length=st.integers(64, 200), prompts=st.integers(1, 2))
@settings(max_examples=examples(20), deadline=None)
def test_trees_have_the_ratio_that_is_asked_for(ratio: float, width: int, row_length: int, prompts: int) -> None:
    cell = of_ratio(Kind.TREE, ratio, width=width, row_length=row_length, prompts=prompts)
    assert packed_ratio(cell) == pytest.approx(ratio, abs=1 / (width * row_length))


@given(ratio=st.floats(0.3, 0.95), width=st.integers(8, 64), row_length=st.integers(64, 200))
@settings(max_examples=examples(20), deadline=None)
def test_groups_share_their_prompt_alone_and_come_as_close_as_its_length_allows(
    ratio: float, width: int, row_length: int
) -> None:
    cell = of_ratio(Kind.GROUP, ratio, width=width, row_length=row_length)
    found = packed_ratio(cell)
    assert found == pytest.approx(1 - cell.prompt_length * (width - 1) / (width * row_length))
    assert found == pytest.approx(ratio, abs=1 / row_length)


@pytest.mark.parametrize("kind", Kind)
def test_a_given_prompt_length_is_kept_and_the_ratio_hit(kind: Kind) -> None:
    cell = of_prompt(kind, 0.5, width=8, prompt_length=64)
    assert cell.prompt_length == 64
    assert packed_ratio(cell) == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("kind", Kind)
def test_given_lengths_give_their_own_ratio(kind: Kind) -> None:
    cell = of_lengths(kind, width=8, prompt_length=256, response_length=64, shared=0.3)
    assert packed_ratio(cell) == pytest.approx(cell.ratio, abs=1e-9)


def test_at_ratio_one_no_token_is_shared() -> None:
    assert packed_ratio(of_ratio(Kind.TREE, 1.0, width=8, row_length=64, prompts=2)) == 1.0


def test_the_same_seed_draws_the_same_rows_and_another_does_not() -> None:
    cell = of_ratio(Kind.TREE, 0.5, width=8, row_length=64)
    one, same, other = (grow(cell, seed=seed, vocabulary=VOCABULARY).tokens.tolist() for seed in (1, 1, 2))
    assert one == same != other


def test_ratios_out_of_reach_are_refused() -> None:
    with pytest.raises(ValueError, match="out of reach"):
        of_ratio(Kind.GROUP, 0.1, width=8, row_length=64)
    with pytest.raises(ValueError, match="out of reach"):
        of_prompt(Kind.TREE, 0.1, width=8, prompt_length=64)


@pytest.mark.parametrize("name", PROFILES)
def test_every_profiles_cells_can_be_grown_and_span_what_is_asked(name: str) -> None:
    profile = PROFILES[name]
    assert set(profile.models) <= set(SHAPES)
    ratios = [cell.ratio for cell in profile.sections[RATIO]]
    assert (min(ratios), max(ratios)) == (0.3, 1.0)
    if name not in ("smallest", "gpu_check"):
        assert {cell.width for cell in profile.sections["width"]} == {8, 16, 32, 64}
        lengths = [cell.prompt_length for cell in profile.sections["prompt length"]]
        assert (min(lengths), max(lengths)) == (64, 2048)
        assert {cell.kind for section in profile.sections.values() for cell in section} == set(Kind)
    for section in profile.sections.values():
        smallest = min(section, key=lambda cell: cell.row_tokens)
        assert packed_ratio(smallest) == pytest.approx(smallest.ratio, abs=0.01)


def test_the_command_line_replaces_the_cells() -> None:
    found = described(PROFILES["small"], ratio=0.4, width=4, prompt_length=32).sections
    (cells,) = found.values()
    assert {(cell.kind, cell.ratio, cell.width, cell.prompt_length) for cell in cells} == {
        (kind, 0.4, 4, 32) for kind in Kind
    }


def outcome(*, stock: list[float], packed: list[float]) -> Outcome:
    def measured(seconds: list[float], tokens: int) -> Measured:
        return Measured(seconds=seconds, peak=tokens * 2**20, micro_batches=1, tokens=tokens)

    cell = of_ratio(Kind.TREE, 0.5, width=8, row_length=64)
    found = {part: {Arm.STOCK: measured(stock, 512), Arm.PACKED: measured(packed, 256)} for part in Part}
    return Outcome(cell=cell, row_tokens=512, packed_tokens=256, found=found, apart=1e-6)


def test_what_is_reached_is_the_speed_up_over_one_over_the_ratio() -> None:
    found = outcome(stock=[1.0, 5.0, 2.0], packed=[1.25, 1.0, 9.0])
    assert speed_up(found, Part.UPDATE) == pytest.approx(2.0 / 1.25)
    assert reached(found, Part.UPDATE) == pytest.approx(0.8)


def test_the_table_has_its_columns_and_the_goals_name_what_misses() -> None:
    found = outcome(stock=[2.0], packed=[1.25])
    lines = [line for line in table("t", [found]).splitlines() if line.startswith("|")]
    assert {line.count("|") - 1 for line in lines} == {len(COLUMNS)}
    assert len(lines) == 2 + len(Part)
    assert "| 0.500 |" in lines[2]
    assert "| 512 | 256 | 0.500 |" in lines[2]
    assert "0 of 1 cells" in goals([found])
    assert "1 of 1 cells" in goals([outcome(stock=[2.0], packed=[1.1])])


def test_log_probs_further_apart_than_rounding_are_named_by_device() -> None:
    found = outcome(stock=[2.0], packed=[1.25])
    assert too_far_apart([found], "cpu") == too_far_apart([found], "cuda") == []
    found.apart = 1e-3
    (line,) = too_far_apart([found], "cpu")
    assert line == f"{found.cell.title}: log-probs differ by 1.0e-03 of the largest, at most 1e-04 is allowed"
    assert too_far_apart([found], "cuda") == []
    found.apart = float("nan")
    assert len(too_far_apart([found], "cuda")) == 1


def test_steps_are_read_by_phase_without_the_first() -> None:
    steps = range(1, 4)
    scalars = {name: {step: float(step) for step in steps} for name in PHASES.values()}
    scalars |= {
        "perf/total_num_tokens": dict.fromkeys(steps, 300.0),
        "prompt_length/mean": dict.fromkeys(steps, 10.0),
        "response_length/mean": dict.fromkeys(steps, 20.0),
    }
    found = read_steps(scalars, 3)
    assert (found.generated, found.contained, found.row_tokens, found.computed) == (200, 200, 300, 300)
    assert found.seconds["update"] == [2.0, 3.0]
    scalars |= {
        "treepo/packing/packed_tokens": dict.fromkeys(steps, 120.0),
        "treepo/tokens/generated": dict.fromkeys(steps, 85.0),
        "treepo/tokens/discarded": dict.fromkeys(steps, 5.0),
        "treepo/tokens/in_trajectories": dict.fromkeys(steps, 200.0),
    }
    packed = read_steps(scalars, 3)
    assert (packed.generated, packed.contained, packed.computed) == (90, 200, 120)
    text = step_table({"grpo": found, "packed": packed})
    assert STEP_ARMS["packed"].says in text
    with pytest.raises(ValueError, match="steps"):
        read_steps(scalars, 4)
