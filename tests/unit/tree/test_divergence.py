"""Steps 1, 4 and 6 of the sampler: how many paths a step has, and at how many trajectories it aims."""

import random
from collections import Counter
from typing import Any

import pytest
from scripted_trees import small_config

from treepo.config import BudgetConfig
from treepo.tree.divergence import (
    draw_divergence,
    initial_requests,
    ramp,
    step_total,
    target_at_fallback,
    target_while_active,
)


def total(
    *, active: int, just_finished: int = 0, finished: int = 0, depth: int = 2, active_prompts: int = 1, **options: Any
) -> int:
    config = small_config(**{"width": 16, "max_depth": 14, **options})
    return step_total(
        config,
        divergence=config.max_divergence,
        active=active,
        just_finished=just_finished,
        finished=finished,
        width=16,
        target=options.get("width", 16),
        depth=depth,
        active_prompts=lambda: active_prompts,
    )


def start_counts(width: int = 16, **options: Any) -> Counter[int]:
    config = small_config(**{"width": 16, "max_divergence": 3, **options})
    rng = random.Random(0)
    return Counter(initial_requests(config, width, rng) for _ in range(2000))


def test_a_prompt_starts_with_max_divergence_requests():
    assert set(start_counts()) == {3}


def test_the_initial_range_is_drawn_uniformly_with_both_ends():
    counts = start_counts(initial_divergence=(2, 5))
    assert set(counts) == {2, 3, 4, 5}
    assert all(400 < count < 600 for count in counts.values())


def test_a_random_budget_draws_the_start_from_its_range_too():
    # With this budget max_divergence is not read, and stays at its default.
    drawn = {"divergence": {"budget": "random", "random_range": (1, 2)}, "max_divergence": 2}
    assert set(start_counts(**drawn)) == {1, 2}
    assert set(start_counts(**drawn, initial_divergence=(4, 4))) == {4}


def test_a_prompt_never_starts_with_more_than_its_width():
    assert set(start_counts(width=1)) == {1}
    assert set(start_counts(width=2, initial_divergence=(1, 5))) == {1, 2}


def test_a_random_budget_draws_every_step_anew():
    config = small_config(divergence={"budget": "random", "random_range": (1, 3)})
    rng = random.Random(0)
    assert {draw_divergence(config, rng) for _ in range(100)} == {1, 2, 3}
    assert draw_divergence(small_config(max_divergence=3), rng) == 3


@pytest.mark.parametrize(
    ("active", "just_finished", "finished", "transfer", "expected"),
    [
        (3, 0, 0, True, 6),
        (3, 2, 2, True, 10),
        (3, 2, 2, False, 6),
        (3, 2, 9, True, 7),
        (3, 2, 13, True, 3),
        (1, 6, 6, True, 10),
        (1, 6, 6, False, 2),
    ],
)
def test_the_share_of_finished_paths_passes_to_the_active_ones(
    active: int, just_finished: int, finished: int, transfer: bool, expected: int
):
    counts = {"active": active, "just_finished": just_finished, "finished": finished}
    assert total(**counts, divergence={"transfer": transfer}) == expected


@pytest.mark.parametrize("target", [4, 5, 6])
def test_every_active_path_continues_even_beyond_the_target(target: int):
    assert total(active=5, width=target) == max(5, target)


def test_step_tokens_are_shared_by_the_active_prompts():
    options = {"budget": "step_tokens", "step_tokens": 99}
    # 99 tokens over 3 prompts are 33 each, and 8 whole segments of 4.
    assert total(active=2, active_prompts=3, divergence=options) == 8
    assert total(active=9, active_prompts=3, divergence=options) == 9
    assert total(active=2, active_prompts=1, divergence=options) == 16
    # Per prompt first, then per segment: 11 tokens over 2 prompts are 5, one segment.
    assert total(active=1, active_prompts=2, divergence={**options, "step_tokens": 11}) == 1
    assert total(active=2, active_prompts=3, divergence={**options, "transfer": False}) == 4


def test_the_ramp_rises_on_a_line_from_the_divergence_to_the_width():
    assert [ramp(depth, divergence=2, width=16, ramp_depth=8) for depth in range(1, 11)] == [
        2, 4, 6, 8, 10, 12, 14, 16, 16, 16,
    ]  # fmt: skip
    assert [ramp(depth, divergence=2, width=5, ramp_depth=3) for depth in (1, 2, 3, 4)] == [2, 4, 5, 5]


def test_the_ramp_counts_what_has_finished():
    options = {"budget": "ramp", "ramp_depth": 8}
    assert total(active=2, depth=3, divergence=options) == 6
    assert total(active=2, depth=3, finished=2, divergence=options) == 4
    assert total(active=2, depth=3, finished=9, divergence=options) == 2
    assert total(active=2, depth=3, divergence={**options, "transfer": False}) == 4
    # Without a depth of its own the ramp ends at max_depth.
    assert total(active=2, depth=14, divergence={"budget": "ramp"}) == 16
    assert total(active=2, depth=13, divergence={"budget": "ramp"}) == 15


def test_other_budgets_do_not_ask_for_the_active_prompts():
    config = small_config()
    asked: list[int] = []
    step_total(
        config, divergence=2, active=1, just_finished=0, finished=0, width=4, target=4, depth=2,
        active_prompts=lambda: asked.append(1) or 1,
    )  # fmt: skip
    assert not asked


TOKENS = BudgetConfig.model_validate({"total": "response_tokens", "response_tokens": 100, "min_width": 3})


def active(lengths: list[int], *, finished: int = 0, tokens: int = 0, options: BudgetConfig = TOKENS) -> int:
    return target_while_active(
        options, width=16, segment_length=4, finished=finished, finished_tokens=tokens, active_lengths=lengths
    )


def idle(*, finished: int, tokens: int, options: BudgetConfig = TOKENS) -> int:
    return target_at_fallback(options, width=16, finished=finished, finished_tokens=tokens)


def test_by_trajectories_the_target_is_the_width():
    assert active([4], options=BudgetConfig()) == 16
    assert idle(finished=2, tokens=10**9, options=BudgetConfig()) == 16


@pytest.mark.parametrize(
    ("lengths", "finished", "tokens", "target"),
    [
        ([6, 6], 0, 0, 10),  # 100 / (6 + 4)
        ([6, 7], 0, 0, 9),  # 100 / 10.5 = 9.5
        ([6, 6], 2, 25, 9),  # 75 / 10 = 7.5, and the 2
        ([1, 1], 0, 0, 16),  # 20 are more than the width
        ([60, 60], 0, 0, 3),  # 1 is less than the least width
        ([6, 6], 5, 100, 5),
        ([6, 6], 8, 111, 6),  # overdrawn: 8 - 2
    ],
)
def test_by_tokens_the_target_is_what_fits_at_one_segment_more(
    lengths: list[int], finished: int, tokens: int, target: int
):
    assert active(lengths, finished=finished, tokens=tokens) == target


@pytest.mark.parametrize(
    ("finished", "tokens", "target"),
    [
        (4, 40, 10),  # 60 left at 10 each
        (4, 60, 6),  # 40 left at 15 each
        (1, 50, 3),  # room for one more; the least width asks for two
        (1, 51, 1),  # 49 left are less than one of 51: no fallback
        (1, 200, 1),
        (4, 4, 16),
        (0, 0, 16),
    ],
)
def test_at_a_fallback_the_mean_finished_length_counts(finished: int, tokens: int, target: int):
    assert idle(finished=finished, tokens=tokens) == target
