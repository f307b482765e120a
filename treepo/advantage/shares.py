"""How much of the credit comes from subgroups below the prompt."""

from collections import defaultdict
from collections.abc import Sequence

from treepo.advantage.subgroups import TreeRow


def subgroup_share(rows: Sequence[TreeRow], rewards: Sequence[float]) -> float:
    """Share of the subgroups below the prompt in the size of the terms that make an advantage (paper, Eq. 5).

    A trajectory's global term is its reward minus the mean of its prompt; its local term the mean, over the subgroups
    of at least two trajectories below the prompt, of its reward minus the mean of the subgroup.

    Args:
        rows: The paths, one per trajectory, padding left out.
        rewards: One per row.

    Returns:
        Sum of the local terms' sizes over the sum of all sizes, from 0 (no subgroups) to 1; 0 where nothing differs.
    """
    groups: dict[tuple[str, tuple[int, ...]], list[float]] = defaultdict(list)
    for row, reward in zip(rows, rewards, strict=True):
        for depth in range(len(row.node_ids) + 1):
            groups[row.prompt_id, row.node_ids[:depth]].append(reward)
    means = {path: sum(found) / len(found) for path, found in groups.items() if len(found) > 1}
    local_size = global_size = 0.0
    for row, reward in zip(rows, rewards, strict=True):
        paths = [(row.prompt_id, row.node_ids[:depth]) for depth in range(len(row.node_ids) + 1)]
        terms = [reward - means[path] for path in paths[1:] if path in means]
        global_size += abs(reward - means.get(paths[0], reward))
        local_size += abs(sum(terms) / len(terms)) if terms else 0.0
    return local_size / (local_size + global_size) if local_size else 0.0
