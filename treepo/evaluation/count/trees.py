"""pass@k and maj@k of samples that come as trees.

Trajectories of one tree share their beginnings, so they are not independent of each other; trees are. Three chances are
told apart, each with an estimate that is unbiased over the draw of the trees:

* `pass_at_k`, k up to the width n: that k trajectories of **one tree of width n** hold a right one. It is the mean over
  trees of Chen's estimate. A tree that is grown with width k forks elsewhere and has another chance, and so have k
  independent samples.
* `pass_at_k`, k = j n: that j **whole trees** hold a right one. It is Chen's estimate over trees.
* `pass_at_k_apart`, k up to the number of trees: that k trajectories of **k trees** hold a right one. They are
  independent draws of a tree's random trajectory; where that has the model's distribution, the chance is the pass@k of
  independent samples.

Chen's estimate over the pooled samples of several trees is biased for each of them.
"""

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np

from treepo.evaluation.count import metrics
from treepo.evaluation.count.metrics import CORRECT, Classes, Floats, sample_sizes


def tree_sizes(width: int, trees: int) -> list[int]:
    """The k of a report: those of one tree, then whole trees."""
    return [*sample_sizes(width), *(width * count for count in sample_sizes(trees) if count > 1)]


Trees = Sequence[Sequence[Classes]]
"""By question, the classes of each tree's trajectories; classes of a question are those of all its trees."""


def pass_at_k(grown: Trees, width: int, k: int) -> Floats:
    """The chance that k trajectories hold a right one, all of one tree or k / width whole trees.

    Args:
        grown: The trees.
        width: Trajectories of the smallest tree; where k is above it, of every tree.
        k: At most the width, or a multiple of it that every question has trees for.

    Returns:
        Shape [questions].

    Raises:
        ValueError: k is neither, or a question has too few trees.
    """
    right = [[int((tree == CORRECT).sum()) for tree in some] for some in grown]
    if k <= width:
        sizes = [[len(tree) for tree in some] for some in grown]
        return np.array([metrics.pass_at_k(*both, k).mean() for both in zip(right, sizes, strict=True)])
    if k % width:
        raise ValueError(f"k={k} must be at most the width of a tree, {width}, or a multiple of it")
    solved = [sum(count > 0 for count in some) for some in right]
    return metrics.pass_at_k(solved, [len(some) for some in right], k // width)


def pass_at_k_apart(grown: Trees, k: int) -> Floats:
    """The chance that k trajectories, each of another tree, hold a right one.

    One less the mean, over subsets of k trees, of the product of their shares of wrong trajectories: since trees are
    independent, its expectation is 1 - (1 - p)^k for the chance p of a tree's random trajectory. With trees of one
    trajectory it is Chen's estimate.

    Args:
        grown: The trees.
        k: Between 1 and the least number of trees.

    Returns:
        Shape [questions].

    Raises:
        ValueError: A question has fewer than k trees.
    """
    metrics.check_k(k, np.array([len(some) for some in grown]))
    return np.array([1 - _wrong_products([float((tree != CORRECT).mean()) for tree in some], k) for some in grown])


def _wrong_products(shares: Sequence[float], k: int) -> float:
    """The mean of the products of all subsets of k shares: their elementary symmetric polynomial, over its terms."""
    sums = [1.0] + [0.0] * k
    for share in shares:
        for size in range(k, 0, -1):
            sums[size] += share * sums[size - 1]
    return sums[k] / comb(len(shares), k)


def majority_at_k(grown: Trees, width: int, k: int, generator: np.random.Generator) -> Floats:
    """The chance that the most frequent answer of k trajectories is right, all of one tree or k / width whole trees.

    Args:
        grown: The trees.
        width: Trajectories of the smallest tree; where k is above it, of every tree.
        k: As for `pass_at_k`.
        generator: What draws subsets where they are too many.

    Returns:
        Shape [questions].
    """
    if k <= width:
        return np.array([metrics.majority_at_k(some, k, generator).mean() for some in grown])
    return np.array([_majority_of_trees(some, k // width, generator) for some in grown])


def _majority_of_trees(trees: Sequence[Classes], count: int, generator: np.random.Generator) -> float:
    if comb(len(trees), count) <= metrics.SUBSETS:
        chosen = list(combinations(range(len(trees)), count))
    else:
        chosen = [generator.choice(len(trees), count, replace=False) for _ in range(metrics.SUBSETS)]
    pooled = [np.concatenate([trees[tree] for tree in some]) for some in chosen]
    # All samples of a pool are one subset.
    return float(np.mean([metrics.majority_at_k([votes], len(votes), generator)[0] for votes in pooled]))
