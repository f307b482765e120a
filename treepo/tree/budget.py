"""How many trajectories a prompt may have in all: a fixed width, or what fits into a number of tokens."""

from collections.abc import Sequence

from treepo.config import BudgetConfig
from treepo.config.policies import TotalBudget


def target_while_active(
    options: BudgetConfig,
    *,
    width: int,
    segment_length: int,
    finished: int,
    finished_tokens: int,
    active_lengths: Sequence[int],
) -> int:
    """Trajectories to aim at while paths are active.

    Args:
        options: The total budget.
        width: Most trajectories.
        segment_length: Tokens per segment.
        finished: Trajectories finished so far.
        finished_tokens: Their tokens.
        active_lengths: Tokens of every active path; at least one.

    Returns:
        `width`; or, under a token budget, the finished ones and as many more as fit into the tokens left when each is
        expected to be one segment longer than the active paths are on average.
    """
    if options.total is TotalBudget.TRAJECTORIES:
        return width
    expected_sum = sum(active_lengths) + segment_length * len(active_lengths)
    more = _tokens_left(options, finished_tokens) * len(active_lengths) // expected_sum
    return _clip(options, finished + more, width)


def target_at_fallback(options: BudgetConfig, *, width: int, finished: int, finished_tokens: int) -> int:
    """Trajectories to aim at when nothing is active.

    Args:
        options: The total budget.
        width: Most trajectories.
        finished: Trajectories finished so far.
        finished_tokens: Their tokens.

    Returns:
        `width`; or, under a token budget, the finished ones and as many more of their mean length as fit into the
        tokens left. Without room for one more it is `finished`, whatever the least width.
    """
    if options.total is TotalBudget.TRAJECTORIES or finished == 0:
        return width
    more = _tokens_left(options, finished_tokens) * finished // finished_tokens
    if more < 1:
        return finished
    return _clip(options, finished + more, width)


def _tokens_left(options: BudgetConfig, finished_tokens: int) -> int:
    assert options.response_tokens is not None, "the configuration needs it with this budget"
    return options.response_tokens - finished_tokens


def _clip(options: BudgetConfig, estimate: int, width: int) -> int:
    assert options.min_width is not None, "the configuration needs it with this budget"
    return min(width, max(options.min_width, estimate))
