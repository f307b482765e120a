"""How many paths a step has, and how they are shared out among the active paths."""

import random

from treepo.config import DivergenceConfig, TreePOConfig


def initial_requests(config: TreePOConfig, width: int, rng: random.Random) -> int:
    """Requests at the root: `max_divergence`, or uniform in `initial_divergence` (paper: more init divergence)."""
    if config.initial_divergence is None:
        return min(config.max_divergence, width)
    return min(rng.randint(*config.initial_divergence), width)


def step_total(options: DivergenceConfig, *, divergence: int, active: int, just_finished: int, room: int) -> int:
    """Paths that a step may have.

    Args:
        options: Whether paths that just finished pass their share on.
        divergence: Children per path.
        active: Active paths.
        just_finished: Paths that finished in the step before.
        room: Trajectories still wanted, at least `active`.

    Returns:
        A number from `active` (every active path goes on) to `room`.
    """
    sharing = active + (just_finished if options.transfer else 0)
    return max(active, min(room, divergence * sharing))


def allocate_evenly(total: int, active: int, rng: random.Random) -> list[int]:
    """Children of each active path: as equal as possible, what is left over one each to distinct random paths."""
    share, rest = divmod(total, active)
    children = [share] * active
    for lucky in rng.sample(range(active), rest):
        children[lucky] += 1
    return children
