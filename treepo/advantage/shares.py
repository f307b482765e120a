"""How much of the credit comes from subgroups below the prompt."""

from collections.abc import Sequence

import torch

from treepo.advantage.forest import TreeRow, build_forest, subgroup_means


def subgroup_share(rows: Sequence[TreeRow], rewards: Sequence[float]) -> float:
    """Share of the subgroups below the prompt in the size of the terms that make an advantage (paper, Eq. 5).

    A trajectory's global term is its reward minus the mean of its prompt; its local term the mean, over the subgroups
    of at least two trajectories below the prompt, of its reward minus the mean of the subgroup.

    Args:
        rows: The paths, one per trajectory, padding left out; a path that occurs again counts once.
        rewards: One per row.

    Returns:
        Sum of the local terms' sizes over the sum of all sizes, from 0 (no subgroups) to 1; 0 where nothing differs.
    """
    if not rows:
        return 0.0
    forest = build_forest(rows, torch.ones(len(rows), dtype=torch.bool))
    own = torch.tensor(rewards, dtype=torch.float64).gather(0, forest.first_rows)
    sums, counts = torch.zeros_like(own), torch.zeros_like(own)
    means = subgroup_means(forest, own)
    for level, mean in zip(forest.levels[1:], means[1:], strict=True):
        shared = (level.sizes > 1).double().gather(0, level.groups)
        term = own.gather(0, level.members) - mean.gather(0, level.groups)
        sums.index_add_(0, level.members, shared * term)
        counts.index_add_(0, level.members, shared)
    local_size = float((sums / counts.clamp(min=1)).abs().sum())
    root = forest.levels[0]
    global_size = float((own.gather(0, root.members) - means[0].gather(0, root.groups)).abs().sum())
    return local_size / (local_size + global_size) if local_size else 0.0
