"""The rollout benchmark: lengths follow their law however they are drawn, and the table says what was measured."""

import asyncio
import random
from statistics import fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_decoder import ResubmittingEngine
from typer.testing import CliRunner

from benchmarks.rollout.__main__ import app
from benchmarks.rollout.cell import Arm, Cell, Grown, Measured, mean_context
from benchmarks.rollout.lengths import DrawnLengths, LogNormal, Memoryless, law
from benchmarks.rollout.profiles import PROFILES
from benchmarks.rollout.table import against_independent, inflation, occupancy, table
from treepo.config import load_config
from treepo.rollout import grow_tree
from treepo.tree import FinishReason, Node, Trajectory, Tree, TreeSampler, TreeStats

CELL = Cell(prompts=2, prompt_length=8, width=4, segment_length=8, max_depth=4, slots=8)


def run(*, seconds: float, generated: int, trajectories: int = 10, requests: int = 10, computed: int = 0) -> Measured:
    return Measured(
        seconds=seconds,
        trajectories=trajectories,
        response_tokens=100 * trajectories,
        generated=generated,
        computed=computed,
        cached=0,
        requests=requests,
        steps=2,
        times=[seconds / 2, seconds],
        running=[8, 4],
    )


@given(
    decoded=st.integers(0, 10_000),
    seed=st.integers(0, 1000),
    name=st.sampled_from(["full", "memoryless", "lognormal:0.3"]),
)
def test_a_drawn_length_is_longer_than_what_is_decoded(decoded: int, seed: int, name: str) -> None:
    lengths = law(name, 128)
    assert lengths is not None
    assert lengths.draw(decoded, random.Random(seed)) > decoded


def test_lengths_have_the_median_and_the_mean_that_the_law_names() -> None:
    draw = random.Random(0)
    assert fmean(Memoryless(mean=100).draw(0, draw) for _ in range(20_000)) == pytest.approx(100, rel=0.03)
    assert median(LogNormal(median=100, spread=0.5).draw(0, draw) for _ in range(20_000)) == pytest.approx(
        100, rel=0.03
    )


@pytest.mark.parametrize("name", ["memoryless", "lognormal:0.5"])
def test_drawing_anew_at_every_segment_keeps_the_law(name: str) -> None:
    lengths = law(name, 64)
    assert lengths is not None

    def by_segments(draw: random.Random) -> int:
        decoded = 0
        while (length := lengths.draw(decoded, draw)) > decoded + 8:
            decoded += 8
        return length

    draw = random.Random(1)
    at_once = sorted(lengths.draw(0, draw) for _ in range(20_000))
    in_parts = sorted(by_segments(draw) for _ in range(20_000))
    for share in (0.1, 0.5, 0.9):
        place = int(share * 20_000)
        assert in_parts[place] == pytest.approx(at_once[place], rel=0.06, abs=1)


def test_trees_end_at_drawn_lengths() -> None:
    sampler = TreeSampler(
        prompt_id="p",
        prompt_tokens=[1, 2],
        config=load_config(CELL.tree_options),
        max_response_length=CELL.longest,
        eos_token_ids=frozenset(),
        decode=lambda tokens: "",
    )
    engine = DrawnLengths(ResubmittingEngine(stop_chance=0.0), LogNormal(median=16, spread=0.5))
    tree = asyncio.run(grow_tree(sampler, engine))
    reasons = {trajectory.reason.value for trajectory in tree.trajectories}
    assert "eos" in reasons
    assert len(tree.trajectories) == CELL.width


def test_a_law_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match="'gaussian' are not known; there are model, full"):
        law("gaussian", 10)


def test_ratios_are_per_trajectory_and_against_independent_samples() -> None:
    runs = {
        Arm.INDEPENDENT: [run(seconds=10, generated=1000, computed=100)],
        Arm.LOCKSTEP: [run(seconds=10, generated=800)],
        Arm.IN_ENGINE: [run(seconds=16, generated=1400, trajectories=20, requests=20, computed=130)],
    }
    tokens, computed, seconds = against_independent(runs, Arm.IN_ENGINE)
    assert (tokens, computed, seconds) == pytest.approx((0.7, 1530 / 2200, 0.8))
    assert inflation(runs, Arm.IN_ENGINE) == 1.0
    text = table(CELL, runs, 16)
    assert "(d): 1.000 requests per trajectory" in text
    assert "(d) gives 1.25 x the trajectories per second of (b)" in text
    assert "87.5% of what the tokens allow" in text


def test_shared_tokens_are_decoded_once_and_stand_behind_all_before_them() -> None:
    shared = Node(id=1, tokens=[5, 6], log_probs=[0.0, 0.0])
    leaves = [Node(id=node, tokens=[7, 8, 9], log_probs=[0.0] * 3) for node in (2, 3)]
    tree = Tree(
        prompt_id="p",
        prompt_tokens=[1] * 10,
        trajectories=tuple(
            Trajectory(nodes=(shared, leaf), reason=FinishReason.EOS, finish_step=2, from_fallback=False)
            for leaf in leaves
        ),
        stats=tree_stats(),
    )
    grown = Grown.of_tree(tree)
    assert grown.lengths == [5, 5]
    assert sorted(grown.spans) == [(0, 2), (2, 3), (2, 3)]
    assert mean_context([grown]) == ((10 + 11) + 2 * (12 + 13 + 14)) / 8


def tree_stats() -> TreeStats:
    return TreeStats(**dict.fromkeys(TreeStats.__slots__, 0))


def test_occupancy_is_a_mean_over_time() -> None:
    assert occupancy(run(seconds=4, generated=1)) == 6


@pytest.mark.parametrize("name", PROFILES)
def test_every_cell_of_every_profile_is_a_valid_setting(name: str) -> None:
    cells = PROFILES[name].everything
    assert len({cell.slots for cell in cells}) == 1, "they share one engine"
    for cell in cells:
        assert load_config(cell.tree_options).max_depth * cell.segment_length == cell.longest
        law(cell.lengths, cell.longest)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lengths", "lognormal_0.5"], "are not known"),
        (["--lengths", "lognormal:wide"], "could not convert"),
        (["--arms", "independent,prtable"], "not a valid Arm"),
    ],
    ids=str,
)
def test_a_name_that_is_not_known_is_refused_before_the_engine_starts(words: list[str], said: str) -> None:
    refused = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert refused.exit_code == 2
    assert said in refused.output
