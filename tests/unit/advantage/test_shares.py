"""The share of the subgroups below the prompt in the credit."""

from statistics import fmean

import pytest

from treepo.advantage import TreeRow, subgroup_share


def row(*nodes: int, prompt: str = "p") -> TreeRow:
    return TreeRow(prompt_id=prompt, node_ids=nodes, node_lengths=(1,) * len(nodes))


def test_without_shared_prefixes_all_credit_is_global() -> None:
    assert subgroup_share([row(1), row(2), row(3)], [0.0, 1.0, 1.0]) == 0


def test_where_only_siblings_differ_the_terms_are_compared_by_size() -> None:
    # Prompt mean 1/2: global terms 1/2 each. Both subgroups have mean 1/2 too: local terms 1/2 each.
    rows = [row(1, 2), row(1, 3), row(4, 5), row(4, 6)]
    assert subgroup_share(rows, [0.0, 1.0, 0.0, 1.0]) == pytest.approx(0.5)
    # Equal within each subgroup: nothing local.
    assert subgroup_share(rows, [0.0, 0.0, 1.0, 1.0]) == 0


def test_a_trajectorys_local_terms_are_averaged() -> None:
    # Node 1 is shared by three (mean 2/3), node 2 by two (mean 1/2); the fourth is alone.
    rows = [row(1, 2, 3), row(1, 2, 4), row(1, 5), row(6)]
    rewards = [0.0, 1.0, 1.0, 0.0]
    local = abs((-2 / 3 - 1 / 2) / 2) + abs((1 / 3 + 1 / 2) / 2) + 1 / 3
    whole = 4 * 0.5
    assert subgroup_share(rows, rewards) == pytest.approx(local / (local + whole))


def test_equal_rewards_and_lone_trajectories_have_no_share() -> None:
    assert subgroup_share([row(1, 2), row(1, 3)], [1.0, 1.0]) == 0
    assert subgroup_share([row(1, 2)], [1.0]) == 0
    assert subgroup_share([], []) == 0


def test_a_path_that_occurs_again_counts_once() -> None:
    rows = [row(1, 2), row(1, 3), row(4)]
    assert subgroup_share([*rows, rows[0], rows[0]], [1.0, 0.0, 0.0, 1.0, 1.0]) == pytest.approx(
        subgroup_share(rows, [1.0, 0.0, 0.0])
    )


def test_a_long_spine_has_the_share_of_its_definition() -> None:
    # 60 leaves, one at every depth of a spine; the mean of the subgroup at depth d is over the leaves from d on.
    spine = 60
    rows = [row(*[0] * depth, 1) for depth in range(spine)]
    rewards = [float(depth % 3 == 0) for depth in range(spine)]
    local = whole = 0.0
    for depth, reward in enumerate(rewards):
        terms = [reward - fmean(rewards[above:]) for above in range(1, depth + 1) if spine - above > 1]
        local += abs(fmean(terms)) if terms else 0.0
        whole += abs(reward - fmean(rewards))
    assert subgroup_share(rows, rewards) == pytest.approx(local / (local + whole))
