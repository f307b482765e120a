"""The turns' benchmark: the published counts of calls, those of verl's loop, and a page that shows what is stored."""

import pytest
from training_run import ROOT

from benchmarks.turns.arms import INDEPENDENT, VERL, WIDTH, measure
from benchmarks.turns.model import OBSERVATION_TOKENS, PROMPT_TOKENS, Tool
from benchmarks.turns.table import page_tables, read

RECHECK = Tool(hazard=0.0, slow=0.0)


@pytest.mark.parametrize(("depth", "two", "three"), [(4, 15, 20), (5, 23, 28), (6, 31, 36)])
def test_full_trees_make_the_published_calls(depth: int, two: int, three: int) -> None:
    calls = {
        arm: measure(arm, prompts=1, depth=depth, tool=RECHECK, seed=0).calls
        for arm in ("b=2", "b=3", INDEPENDENT, VERL)
    }
    assert calls == {"b=2": two, "b=3": three, INDEPENDENT: WIDTH * depth, VERL: WIDTH * depth}


def test_two_prompts_call_twice_and_every_answer_is_asked_for_once() -> None:
    step = measure("b=2", prompts=2, depth=4, tool=RECHECK, seed=1)
    # One, two and four turns are answered; the eight last ones are not.
    assert (step.calls, step.steps, step.turns) == (30, 14, 2 * 8 * 4)
    # Two prompts, and every answer once.
    assert step.computed == 2 * PROMPT_TOKENS + 14 * OBSERVATION_TOKENS


def test_our_talks_and_verls_compute_alike() -> None:
    ours, theirs = (measure(arm, prompts=1, depth=4, tool=RECHECK, seed=0) for arm in (INDEPENDENT, VERL))
    assert (ours.steps, ours.turns, ours.computed) == (theirs.steps, theirs.turns, theirs.computed)


def test_a_path_that_runs_ahead_waits_for_its_own_tool_alone() -> None:
    slow = Tool(hazard=0.0, slow=0.1)
    ahead, waits = (
        measure(INDEPENDENT, prompts=1, depth=6, tool=slow, seed=0, run_ahead=run_ahead) for run_ahead in (True, False)
    )
    # The same talks, in less of the counted time.
    assert (ahead.calls, ahead.written, ahead.length) == (waits.calls, waits.written, waits.length)
    assert ahead.seconds < waits.seconds


def test_the_page_shows_what_is_stored() -> None:
    page = (ROOT / "docs/multi_turn_measured.md").read_text(encoding="utf-8")
    assert page_tables(read()) in page
