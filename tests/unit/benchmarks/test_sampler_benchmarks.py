"""The sampler's benchmarks run, with a few prompts, over every policy they list."""

import pytest

from benchmarks import sampler_cost, sampler_table


@pytest.mark.parametrize("policy", sampler_table.policies(8, 3))
def test_every_row_of_the_table_grows_trees(policy: str):
    options = sampler_table.policies(8, 3)[policy]
    for task in sampler_table.TASKS:
        cell = sampler_table.measure(task, 8, options, prompts=3)
        assert 1 <= cell.trajectories <= 8
        assert 0 < cell.length <= 16 * cell.depth
        assert cell.depth <= sampler_table.DEPTH
        assert cell.shared > 0


def test_independent_samples_share_nothing():
    options = sampler_table.policies(8, 3)[sampler_table.INDEPENDENT]
    cell = sampler_table.measure(sampler_table.TASKS[2], 8, options, prompts=3)
    assert (cell.trajectories, cell.shared, cell.largest, cell.fallbacks) == (8, 1, 1, 0)


@pytest.mark.parametrize("line", sampler_cost.LINES, ids=lambda line: line.name)
def test_the_cost_is_measured_on_whole_trees(line: sampler_cost.Line):
    trees, seconds = sampler_cost.grow_all(line, prompts=2, width=4, depth=3, segment_length=16)
    assert [len(tree.trajectories) for tree in trees] == [4, 4]
    assert seconds > 0
