"""Step 6 of the sampler: trajectories to aim at."""

import pytest

from treepo.config import BudgetConfig
from treepo.tree.budget import target_at_fallback, target_while_active

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
