"""Values read out of the policy's own hidden states, and credits that rest on them.

The log-prob pass has the hidden state before every segment at hand. A linear read-out of it, fitted to the rewards of
other prompts, guesses the reward that a prefix will come to. Folds are whole prompts, so that no trajectory of a prompt
enters its own values, and a credit that uses them as baselines alone keeps the true gradient's direction.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.gradient.arms import Arm
from benchmarks.gradient.model.samples import Samples
from treepo.advantage import TreeRow

FOLDS = 4
_RIDGES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Valued:
    """The trajectories of some prompts, with values.

    Attributes:
        rows: Their paths.
        prompts: Shape (trajectories,), the prompt of each.
        mask: Bool, shape (trajectories, response_length).
        rewards: Shape (trajectories,).
        before: Per row the value before each of its nodes, shape (nodes,).
    """

    rows: Sequence[TreeRow]
    prompts: np.ndarray
    mask: np.ndarray
    rewards: np.ndarray
    before: Sequence[np.ndarray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of a tree.

    Attributes:
        members: The rows through it.
        value: Their mean reward.
        before: The value before it.
        after: The value behind it, as the mean over its rows: the reward where a row ends here.
    """

    members: list[int]
    value: float
    before: float
    after: float


def cross_fitted(samples: Samples) -> tuple[list[np.ndarray], float]:
    """The values before all nodes, each from a read-out that was fitted to the other folds' prompts.

    Returns:
        Per row, shape (nodes,); and the share of the rewards' squared distance from their mean that they explain.
    """
    depths = np.array([len(row.node_ids) for row in samples.rows])
    owners = np.repeat(np.arange(len(depths)), depths)
    targets = samples.rewards[owners]
    _, order = np.unique(samples.prompts, return_inverse=True)
    folds = order[owners] % FOLDS
    found = np.zeros(len(owners))
    for fold in range(FOLDS):
        own, others = folds == fold, folds != fold
        found[own] = _fit(samples.states[others], targets[others], folds[others])(samples.states[own])
    explained = 1 - ((targets - found) ** 2).sum() / max(((targets - targets.mean()) ** 2).sum(), 1e-12)
    return np.split(found, np.cumsum(depths)[:-1]), float(explained)


def _fit(states: np.ndarray, targets: np.ndarray, folds: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A ridge regression whose strength is the best one across the folds that it is fitted to."""
    errors = []
    for ridge in _RIDGES:
        error = 0.0
        for fold in np.unique(folds):
            own = folds == fold
            error += ((_ridge(states[~own], targets[~own], ridge)(states[own]) - targets[own]) ** 2).sum()
        errors.append(error)
    return _ridge(states, targets, _RIDGES[int(np.argmin(errors))])


def _ridge(states: np.ndarray, targets: np.ndarray, strength: float) -> Callable[[np.ndarray], np.ndarray]:
    centre, spread = states.mean(axis=0), states.std(axis=0) + 1e-6
    mean, low, high = targets.mean(), targets.min(), targets.max()
    scaled = (states - centre) / spread
    weights = np.linalg.solve(scaled.T @ scaled + strength * np.eye(states.shape[1]), scaled.T @ (targets - mean))
    return lambda asked: np.clip(mean + (asked - centre) / spread @ weights, low, high)


def values_alone(batch: Valued) -> np.ndarray:
    """Mean reward below a node less the value before it."""
    return _write(batch, {key: node.value - node.before for key, node in _nodes(batch).items()})


def values_at_both_ends(batch: Valued) -> np.ndarray:
    """The value behind a node less the one before it; what is wrong in the values becomes wrong credit."""
    return _write(batch, {key: node.after - node.before for key, node in _nodes(batch).items()})


def branches_and_values(batch: Valued) -> np.ndarray:
    """`treepo_branch` with the learned value of a fork's prefix in place of the baseline above.

    The baseline of a fork's branches is moved along with the values to nodes further down the same edge. How many
    branches a value counts for is taken from the batch, as `shrink=auto` does.
    """
    nodes = _nodes(batch)
    baselines = _baselines(nodes)
    return _write(batch, {key: node.value - baselines[key] for key, node in nodes.items()})


def branches_and_both_ends(batch: Valued) -> np.ndarray:
    """The same, and what follows a node is guessed by its value together with its trajectories."""
    nodes = _nodes(batch)
    baselines, strength = _baselines(nodes), _strength(nodes)
    found = {}
    for key, node in nodes.items():
        own = len(node.members) / (len(node.members) + strength) if np.isfinite(strength) else 0.0
        found[key] = own * node.value + (1 - own) * node.after - baselines[key]
    return _write(batch, found)


Key = tuple[str, tuple[int, ...]]
"""A prompt and a path in its tree."""


def _nodes(batch: Valued) -> dict[Key, Node]:
    members: dict[Key, list[int]] = {}
    for index, row in enumerate(batch.rows):
        for depth in range(1, len(row.node_ids) + 1):
            members.setdefault((row.prompt_id, row.node_ids[:depth]), []).append(index)
    found = {}
    for (prompt, path), rows in members.items():
        depth = len(path)
        after = [batch.before[row][depth] if len(batch.before[row]) > depth else batch.rewards[row] for row in rows]
        found[prompt, path] = Node(
            members=rows,
            value=float(np.mean(batch.rewards[rows])),
            before=float(batch.before[rows[0]][depth - 1]),
            after=float(np.mean(after)),
        )
    return found


def _forks(nodes: dict[Key, Node]) -> Iterator[tuple[float, list[Key]]]:
    """The value before each fork, and its branches."""
    branches: dict[Key, list[Key]] = {}
    for prompt, path in nodes:
        branches.setdefault((prompt, path[:-1]), []).append((prompt, path))
    for own in branches.values():
        if len(own) > 1:
            yield nodes[own[0]].before, own


def _strength(nodes: dict[Key, Node]) -> float:
    """Variance of branches within a fork over the mean square error of its value, in branches."""
    within = products = 0.0
    freedom = pairs = 0
    for before, own in _forks(nodes):
        values = np.array([nodes[key].value for key in own])
        within += float(((values - values.mean()) ** 2).sum())
        freedom += len(values) - 1
        others = (values.sum() - values) / (len(values) - 1)
        products += float(((others - before) * (values - before)).sum())
        pairs += len(values)
    if within <= 0:
        return 0.0
    return within / freedom / (products / pairs) if products > 0 else np.inf


def _baselines(nodes: dict[Key, Node]) -> dict[Key, float]:
    strength = _strength(nodes)
    shifts: dict[Key, float] = {}
    for before, own in _forks(nodes):
        total = sum(nodes[key].value for key in own)
        for key in own:
            rest = len(own) - 1
            weight = rest / (rest + strength) if np.isfinite(strength) and rest + strength > 0 else 0.0
            shifts[key] = weight * ((total - nodes[key].value) / rest - before)
    found: dict[Key, float] = {}
    for prompt, path in sorted(nodes, key=lambda key: len(key[1])):
        # What the branches of the fork above say about its value holds for all of the edge.
        shift = shifts.setdefault((prompt, path), shifts.get((prompt, path[:-1]), 0.0))
        found[prompt, path] = nodes[prompt, path].before + shift
    return found


def _write(batch: Valued, numbers: dict[Key, float]) -> np.ndarray:
    """Hands the nodes' numbers to their tokens."""
    found = np.zeros(batch.mask.shape)
    for index, row in enumerate(batch.rows):
        start = 0
        for depth, length in enumerate(row.node_lengths, start=1):
            found[index, start : start + length] = numbers[row.prompt_id, row.node_ids[:depth]]
            start += length
    return found


def by_prompt_deviation(credit: Callable[[Valued], np.ndarray]) -> Callable[[Valued], np.ndarray]:
    """A credit over the prompt's standard deviation, whose variance counts n - 1 times against twice the batch's."""

    def scaled(batch: Valued) -> np.ndarray:
        found, whole = credit(batch), batch.rewards.var(ddof=1)
        for prompt in np.unique(batch.prompts):
            group = batch.prompts == prompt
            freedom = int(group.sum()) - 1
            own = batch.rewards[group].var(ddof=1) if freedom else 0.0
            found[group] /= np.sqrt((freedom * own + 2 * whole) / (freedom + 2)) + 1e-9
        return found

    return scaled


LEARNED = (
    Arm(name="learned values", credit=values_alone),
    Arm(name="branches and learned values", credit=branches_and_values),
    Arm(name="branches and learned values, scale=prompt", credit=by_prompt_deviation(branches_and_values)),
    Arm(name="learned values at both ends", credit=values_at_both_ends),
    Arm(name="branches and learned values at both ends", credit=branches_and_both_ends),
)
"""Credits that read values."""
