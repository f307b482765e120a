"""The study of the means' bias: its true values are true, and it finds what must hold whatever the numbers."""

import itertools
import math

import numpy as np
import pytest

from benchmarks import bias, walks
from treepo.advantage.forest import subgroup_means

DEPTH, HAZARD = 4, 0.25


def value_by_enumeration(world: walks.World, steps: tuple[int, ...], depth: int, hazard: float) -> float:
    """The chance to be right of a walk that has not ended, over all its futures."""
    total = 0.0
    for step in (-1, 1):
        longer = (*steps, step)
        ended, cut_off = (
            float(world.success(np.array(sum(longer[: world.moving])), len(longer), depth, ended=ended))
            for ended in (True, False)
        )
        further = cut_off if len(longer) == depth else value_by_enumeration(world, longer, depth, hazard)
        total += 0.5 * (hazard * ended + (1 - hazard) * further)
    return total


@pytest.mark.parametrize("world", walks.WORLDS, ids=lambda world: world.name)
def test_the_true_values_are_those_of_all_futures_enumerated(world: walks.World) -> None:
    values = walks.true_values(world, DEPTH, HAZARD)
    for length in range(DEPTH):
        for steps in itertools.product((-1, 1), repeat=length):
            expected = value_by_enumeration(world, steps, DEPTH, HAZARD)
            assert values[length, DEPTH + sum(steps[: world.moving])] == pytest.approx(expected, abs=1e-12)


def test_the_grid_holds_every_budget_with_and_without_fallback() -> None:
    grid = list(walks.cells([4, 7], [0.1]))
    assert len(grid) == len(set(grid)) == 10
    assert {(cell.budget, cell.fallback) for cell in grid if cell.depth == 7} == {
        ("independent", False),
        *itertools.product(("fixed", "ramp"), (False, True)),
    }


def test_a_tree_repeats_and_depends_on_the_seed() -> None:
    cell = walks.Cell(depth=DEPTH, hazard=HAZARD, budget="fixed", fallback=True)
    first, again, other = (walks.grow(cell, width=8, prompt=0, seed=seed) for seed in (0, 0, 1))
    assert [leaf.tokens for leaf in first.trajectories] == [leaf.tokens for leaf in again.trajectories]
    assert [leaf.tokens for leaf in first.trajectories] != [leaf.tokens for leaf in other.trajectories]


def test_independent_samples_have_the_error_of_a_mean_of_so_many_and_share_nothing() -> None:
    cell = walks.Cell(depth=DEPTH, hazard=HAZARD, budget="independent", fallback=False)
    errors, trajectories = bias.measure(cell, width=8, trees=400, seed=0)
    assert trajectories == 8
    for world in walks.WORLDS:
        value = walks.true_values(world, DEPTH, HAZARD)[0, DEPTH]
        plain, branch = (errors[world.name, "prompt", kind] for kind in ("plain", "branch"))
        assert plain == branch
        assert abs(plain.bias) < 4 * plain.bias_error
        assert plain.rmse == pytest.approx(math.sqrt(value * (1 - value) / 8), abs=4 * plain.rmse_error)
        assert math.isnan(errors[world.name, "shared", "plain"].bias)


@pytest.mark.parametrize("budget", ["fixed", "ramp"])
def test_without_fallback_branch_weights_are_free_of_bias_and_plain_means_lean_to_long_survivors(budget: str) -> None:
    cell = walks.Cell(depth=6, hazard=0.2, budget=budget, fallback=False)
    errors, _ = bias.measure(cell, width=8, trees=600, seed=0)
    for world, scope in itertools.product(walks.WORLDS, ("prompt", "all below")):
        branch = errors[world.name, scope, "branch"]
        assert abs(branch.bias) < 4 * branch.bias_error
    plain = errors["length matters", "prompt", "plain"]
    assert plain.bias < -6 * plain.bias_error, "long responses are right less often, and are counted more often"
    control = errors["control", "prompt", "plain"]
    assert abs(control.bias) < 4 * control.bias_error, "without an effect of length the lean costs no bias"


def test_a_weighting_that_is_wrong_shows_in_the_control() -> None:
    cell = walks.Cell(depth=6, hazard=0.2, budget="fixed", fallback=False)
    control = walks.WORLDS[1]
    leaves = bias.grow_leaves(cell, width=8, trees=600, seed=0)
    means = [mean * 0.95 for mean in subgroup_means(leaves.forest, leaves.rewards(control, cell))]
    off = bias.prefix_errors(leaves, control, means, walks.true_values(control, cell.depth, cell.hazard))
    for scope in ("prompt", "all below"):
        error = bias.summarise(*off[scope], 600)
        assert abs(error.bias) > 4 * error.bias_error, scope


def test_the_standard_error_takes_the_prefixes_of_a_tree_together() -> None:
    # Two trees, each with errors that agree with each other: as good as two numbers.
    owner, off = np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.1, 0.1, 0.3, 0.3, 0.3])
    error = bias.summarise(owner, off, 2)
    assert error.bias == pytest.approx(0.2)
    assert error.bias_error == pytest.approx(np.std([0.1, 0.3], ddof=1) / math.sqrt(2))
    assert error.rmse == pytest.approx(math.sqrt((0.01 + 0.09) / 2))
    assert math.isnan(bias.summarise(owner[:0], off[:0], 2).rmse)


def test_the_command_prints_a_table_for_every_world_and_scope_and_draws_the_plot(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "sub" / "bias.png"
    arguments = ["--trees", "4", "--width", "4", "--depth", "3", "--hazard", "0.1", "0.4", "--plot", str(picture)]
    monkeypatch.setattr("sys.argv", ["bias", *arguments])
    bias.main()
    printed = capsys.readouterr().out
    for world, scope in itertools.product(walks.WORLDS, bias.SCOPES):
        assert f"{world.name}, {scope}" in printed
    assert "nan" not in printed
    assert picture.read_bytes().startswith(b"\x89PNG")
