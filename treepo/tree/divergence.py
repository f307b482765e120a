"""How many paths a step has, and at how many trajectories of a prompt it aims: a width, or a number of tokens."""

import random
from collections.abc import Callable, Sequence

from treepo.config import BudgetConfig, TreePOConfig
from treepo.config.policies import DivergenceBudget, TotalBudget


def draw_divergence(config: TreePOConfig, rng: random.Random) -> int:
    """Children per path in one step: `max_divergence`, or drawn from `random_range`."""
    if config.divergence.budget is DivergenceBudget.RANDOM:
        assert config.divergence.random_range is not None, "the configuration needs it with this budget"
        return rng.randint(*config.divergence.random_range)
    return config.max_divergence


def initial_requests(config: TreePOConfig, width: int, rng: random.Random) -> int:
    """Requests at the root: uniform in `initial_divergence` where it is set, otherwise a step's divergence."""
    if config.initial_divergence is None:
        return min(draw_divergence(config, rng), width)
    return min(rng.randint(*config.initial_divergence), width)


def step_total(
    config: TreePOConfig,
    *,
    divergence: int,
    active: int,
    just_finished: int,
    finished: int,
    width: int,
    target: int,
    depth: int,
    active_prompts: Callable[[], int],
) -> int:
    """Paths that a step may have.

    Args:
        config: The rules.
        divergence: Children per path in this step.
        active: Active paths.
        just_finished: Paths that finished in the step before.
        finished: Trajectories finished so far.
        width: Most trajectories of the prompt.
        target: Trajectories to aim at, at most `width`.
        depth: Depth of the segments to come.
        active_prompts: Prompts that share `step_tokens`; asked under that budget only.

    Returns:
        At least `active` (every active path continues); beyond that at most what `target` leaves.
    """
    options = config.divergence
    match options.budget:
        case DivergenceBudget.FIXED | DivergenceBudget.RANDOM:
            wanted = divergence * (active + just_finished)
        case DivergenceBudget.STEP_TOKENS:
            assert options.step_tokens is not None, "the configuration needs it with this budget"
            wanted = options.step_tokens // active_prompts() // config.segment_length
        case DivergenceBudget.RAMP:
            ramp_depth = options.ramp_depth or config.max_depth
            wanted = ramp(depth, divergence=divergence, width=width, ramp_depth=ramp_depth) - finished
    if not options.transfer:
        wanted = min(wanted, divergence * active)
    return max(active, min(target - finished, wanted))


def ramp(depth: int, *, divergence: int, width: int, ramp_depth: int) -> int:
    """Paths wanted at a depth: from `divergence` at depth 1 on a straight line to `width` at `ramp_depth`.

    Doubling at every boundary uses the width up within a few segments and then shares nothing more; the ramp forks
    late as well.
    """
    return round(divergence + (width - divergence) * min(1.0, (depth - 1) / (ramp_depth - 1)))


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
