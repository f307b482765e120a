"""How far the baselines of subgroups are from the truth, on trees whose prefix values are known.

    python -m benchmarks.bias

The trees are grown by the real sampler over the process of `benchmarks.walks`, and the means are the estimators' own:
the plain mean over the trajectories of a subgroup, and the one with `branch_weights`.

Two worlds score the same trees. Where length matters, long responses are right less often, and those cut off at the
last depth never; in the control the first segment decides alone. Prefixes are looked at in three scopes: the prompt
itself; the shared prefixes below it, which are the subgroups that count in an advantage; and all prefixes below it,
shared or not.
"""

import argparse
import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen needed

import numpy as np
import torch
from matplotlib import pyplot as plt

from benchmarks.walks import ENDS, UP, WORLDS, Cell, World, cells, grow, true_values
from treepo.advantage import TreeRow
from treepo.advantage.forest import Forest, branch_means, build_forest, subgroup_means

SCOPES = ("prompt", "shared", "all below")


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """Baseline less true value over the prefixes of a scope, with standard errors over trees; NaN without prefixes."""

    bias: float
    bias_error: float
    rmse: float
    rmse_error: float


Errors = dict[tuple[str, str, str], Error]
"""By world, scope and kind of mean (`plain` or `branch`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaves:
    """The trajectories of many trees, in the order of the forest.

    Attributes:
        forest: Which of them share which prefix.
        trees: Shape (trajectories,), the tree of each.
        walks: Shape (trajectories, depth + 1), steps up less steps down after so many segments, all of them counted.
        ended: Shape (trajectories,), whether it ended by itself.
        luck: Shape (trajectories,), uniform numbers that decide whether it is right; the same in every world.
    """

    forest: Forest
    trees: np.ndarray
    walks: np.ndarray
    ended: np.ndarray
    luck: np.ndarray

    def rewards(self, world: World, cell: Cell) -> torch.Tensor:
        """1 where a trajectory is right, shape (trajectories,)."""
        lengths = self.forest.depths.numpy()
        final = world.seen(self.walks)[np.arange(len(lengths)), lengths]
        ended = world.success(final, lengths, cell.depth, ended=True)
        cut_off = world.success(final, lengths, cell.depth, ended=False)
        return torch.from_numpy((self.luck < np.where(self.ended, ended, cut_off)).astype(np.float64))


def grow_leaves(cell: Cell, *, width: int, trees: int, seed: int) -> Leaves:
    """Grows the trees of a cell."""
    grown = [
        (tree, leaf) for tree in range(trees) for leaf in grow(cell, width=width, prompt=tree, seed=seed).trajectories
    ]
    rows = [
        TreeRow(prompt_id=str(tree), node_ids=leaf.path.node_ids, node_lengths=leaf.path.node_lengths)
        for tree, leaf in grown
    ]
    forest = build_forest(rows, torch.ones(len(rows), dtype=torch.bool))
    luck = random.Random(f"{seed} {cell} luck")
    order = forest.first_rows.tolist()
    tokens = np.zeros((len(rows), cell.depth), dtype=np.int64)
    for place, row in enumerate(order):
        leaf = grown[row][1]
        assert leaf.length == len(leaf.nodes), "a node is one segment, and a segment one token"
        tokens[place, : leaf.length] = leaf.tokens
    return Leaves(
        forest=forest,
        trees=np.array([grown[row][0] for row in order]),
        walks=np.pad(np.where(tokens & UP, 1, -1).cumsum(axis=1), ((0, 0), (1, 0))),
        ended=np.asarray((tokens & ENDS).any(axis=1)),
        luck=np.array([luck.random() for _ in order]),
    )


def measure(cell: Cell, *, width: int, trees: int, seed: int) -> tuple[Errors, float]:
    """Grows the trees of a cell and holds the means against the values.

    Returns:
        The errors, and the mean number of trajectories per prompt.
    """
    leaves = grow_leaves(cell, width=width, trees=trees, seed=seed)
    errors: Errors = {}
    for world in WORLDS:
        rewards = leaves.rewards(world, cell)
        values = true_values(world, cell.depth, cell.hazard)
        for kind, means in (("plain", subgroup_means), ("branch", branch_means)):
            off = prefix_errors(leaves, world, means(leaves.forest, rewards), values)
            errors |= {(world.name, scope, kind): summarise(*off[scope], trees) for scope in SCOPES}
    return errors, len(leaves.trees) / trees


def prefix_errors(
    leaves: Leaves, world: World, means: Sequence[torch.Tensor], values: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean less value of every prefix that continues.

    Returns:
        By scope: the tree and the error of every prefix.
    """
    depth = len(values)
    walks = world.seen(leaves.walks)
    lengths = leaves.forest.depths.numpy()
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {scope: [] for scope in SCOPES}
    for segments, level in enumerate(leaves.forest.levels[:depth]):
        # One trajectory stands for its subgroup, all of which continues: none ends where others do not.
        first = level.members.numpy()[np.unique(level.groups.numpy(), return_index=True)[1]]
        off = means[segments].numpy() - values[segments, walks[first, segments] + depth]
        continues, shared = lengths[first] > segments, level.sizes.numpy() > 1
        kept = {"prompt": continues} if segments == 0 else {"shared": continues & shared, "all below": continues}
        for scope, which in kept.items():
            found[scope].append((leaves.trees[first][which], off[which]))
    nothing = (np.zeros(0, dtype=np.int64), np.zeros(0))
    return {
        scope: (np.concatenate([tree for tree, _ in parts]), np.concatenate([off for _, off in parts]))
        for scope, parts in ((scope, [nothing, *parts]) for scope, parts in found.items())
    }


def summarise(owner: np.ndarray, off: np.ndarray, trees: int) -> Error:
    """Means over all prefixes, each counted once; the prefixes of one tree depend on each other.

    Args:
        owner: The tree of every prefix.
        off: The error of every prefix.
        trees: Trees in all.
    """
    if not len(off):
        return Error(bias=math.nan, bias_error=math.nan, rmse=math.nan, rmse_error=math.nan)
    count = np.bincount(owner, minlength=trees)
    bias, bias_error = _ratio(np.bincount(owner, off, trees), count)
    square, square_error = _ratio(np.bincount(owner, off**2, trees), count)
    return Error(
        bias=bias,
        bias_error=bias_error,
        rmse=math.sqrt(square),
        rmse_error=square_error / (2 * math.sqrt(square)) if square else 0.0,
    )


def _ratio(sums: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """A mean over clusters of unequal size, and its standard error (linearised)."""
    mean = sums.sum() / counts.sum()
    spread = np.square(sums - mean * counts).sum() * len(sums) / max(len(sums) - 1, 1)
    return float(mean), float(math.sqrt(spread) / counts.sum())


def table(results: dict[Cell, tuple[Errors, float]], world: str, scope: str) -> str:
    """A Markdown table, in hundredths."""
    lines = [
        f"\n{world}, {scope} (hundredths, standard error in brackets)\n",
        "| depth | hazard | budget | fallback | traj | bias, plain | bias, branch | RMSE, plain | RMSE, branch |",
        "| ---: | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for cell, (errors, leaves) in results.items():
        plain, branch = errors[world, scope, "plain"], errors[world, scope, "branch"]
        if math.isnan(plain.bias):
            continue
        numbers = (
            f"{100 * plain.bias:+.1f} ({100 * plain.bias_error:.1f})",
            f"{100 * branch.bias:+.1f} ({100 * branch.bias_error:.1f})",
            f"{100 * plain.rmse:.1f} ({100 * plain.rmse_error:.1f})",
            f"{100 * branch.rmse:.1f} ({100 * branch.rmse_error:.1f})",
        )
        fallback = "yes" if cell.fallback else "no"
        lines.append(
            f"| {cell.depth} | {cell.hazard} | {cell.budget} | {fallback} | {leaves:.1f} | {' | '.join(numbers)} |"
        )
    return "\n".join(lines)


def plot(results: dict[Cell, tuple[Errors, float]], path: Path) -> None:
    """Bias and RMSE at the prompt against the hazard, where length matters."""
    columns = list(itertools.product(("fixed", "ramp"), (False, True)))
    figure, axes = plt.subplots(2, len(columns), figsize=(13, 6), sharex=True, sharey="row", layout="constrained")
    depths = sorted({cell.depth for cell in results})
    for column, (budget, fallback) in enumerate(columns):
        axes[0, column].set_title(f"{budget}, {'fallback' if fallback else 'no fallback'}")
        axes[0, column].axhline(0, color="black", linewidth=0.8)
        axes[1, column].set_xlabel("hazard of a segment")
        for shade, depth in enumerate(depths):
            chosen = [c for c in results if (c.depth, c.budget, c.fallback) == (depth, budget, fallback)]
            for kind, style in (("plain", "-o"), ("branch", "--s")):
                errors = [results[cell][0][WORLDS[0].name, "prompt", kind] for cell in chosen]
                hazards = [cell.hazard for cell in chosen]
                look = {"fmt": style, "color": f"C{shade}", "markersize": 4, "capsize": 2}
                label = f"depth {depth}, {kind}"
                axes[0, column].errorbar(hazards, [e.bias for e in errors], [e.bias_error for e in errors], **look)
                axes[1, column].errorbar(
                    hazards, [e.rmse for e in errors], [e.rmse_error for e in errors], label=label, **look
                )
    axes[0, 0].set_ylabel("bias of the prompt's mean")
    axes[1, 0].set_ylabel("root mean square error")
    axes[1, -1].legend(fontsize=8)
    for panel in axes.flat:
        panel.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    """Prints the tables and draws the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", type=int, default=2000)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--depth", type=int, nargs="+", default=[4, 7, 14])
    parser.add_argument("--hazard", type=float, nargs="+", default=[0.05, 0.15, 0.3])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", type=Path, default=Path("outputs/bias.png"))
    args = parser.parse_args()
    results = {
        cell: measure(cell, width=args.width, trees=args.trees, seed=args.seed)
        for cell in cells(args.depth, args.hazard)
    }
    for world, scope in itertools.product(WORLDS, SCOPES):
        print(table(results, world.name, scope))
    plot(results, args.plot)
    print(f"\nplot: {args.plot}")


if __name__ == "__main__":
    main()
