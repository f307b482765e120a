"""Random batches of trees, and the definitions that all estimators share, read slowly."""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from hypothesis import strategies as st
from torch import Tensor

from treepo.advantage import TreeRow

Path = tuple[str, tuple[int, ...]]  # a prompt and the first nodes of a path


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    rows: list[TreeRow]
    rewards: list[Fraction]
    mask: list[list[int]]

    def tensors(self) -> tuple[Tensor, Tensor]:
        return torch.tensor([float(reward) for reward in self.rewards]), torch.tensor(self.mask)


class Definitions:
    """The definitions word by word, over dictionaries, in exact fractions up to the square roots."""

    def __init__(self, batch: Batch, *, branch_weights: bool) -> None:
        self.batch = batch
        self.reward: dict[Path, Fraction] = {}  # one entry per distinct trajectory
        for row, reward, mask in zip(batch.rows, batch.rewards, batch.mask, strict=True):
            if any(mask):
                self.reward.setdefault((row.prompt_id, row.node_ids), reward)
        self.weight = {
            path: math.prod((Fraction(1, self.children(prefix)) for prefix in prefixes(path)), start=Fraction(1))
            if branch_weights
            else Fraction(1)
            for path in self.reward
        }

    def through(self, prefix: Path) -> list[Path]:
        prompt, nodes = prefix
        return [path for path in self.reward if path[0] == prompt and path[1][: len(nodes)] == nodes]

    def next_nodes(self, prefix: Path) -> set[int]:
        depth = len(prefix[1])
        return {path[1][depth] for path in self.through(prefix) if len(path[1]) > depth}

    def children(self, prefix: Path) -> int:
        return len(self.next_nodes(prefix)) + (prefix in self.reward)

    def deviation(self, prefix: Path) -> float:
        """GRPO's divisor: the sample standard deviation plus 1e-6, and 1 for a single trajectory."""
        own = [float(self.reward[i]) for i in self.through(prefix)]
        return statistics.stdev(own) + 1e-6 if len(own) > 1 else 1.0

    def mean(self, prefix: Path) -> Fraction:
        group = self.through(prefix)
        weighted = sum((self.reward[i] * self.weight[i] for i in group), Fraction(0))
        return weighted / sum((self.weight[i] for i in group), Fraction(0))

    def tokens(
        self,
        per_node: Callable[[Path], Sequence[float | tuple[float, float]]],
        *,
        whitened: bool,
        shared_power: float = 0.0,
    ) -> Tensor:
        """One number per token from one per node, or from a pair: its first token's and the others'.

        Tokens that n trajectories share are divided by n^shared_power in the end.
        """
        seen: set[Path] = set()
        pool: list[float] = []
        table = [[0.0] * len(mask) for mask in self.batch.mask]
        weights = [[0.0] * len(mask) for mask in self.batch.mask]
        for row, mask, line, weight in zip(self.batch.rows, self.batch.mask, table, weights, strict=True):
            if not any(mask):
                continue
            path = (row.prompt_id, row.node_ids)
            owner: list[float] = []
            shares: list[float] = []
            for number, prefix, length in zip(per_node(path), list(prefixes(path))[1:], row.node_lengths, strict=True):
                first, rest = number if isinstance(number, tuple) else (number, number)
                owner += [first if place == 0 else rest for place in range(length)]
                shares += [len(self.through(prefix)) ** -shared_power] * length
            for position, number in enumerate(owner):
                if mask[position]:
                    line[position], weight[position] = number, shares[position]
                    if path not in seen:
                        pool.append(number)
            seen.add(path)
        result = torch.tensor(table, dtype=torch.float64)
        if whitened and pool:
            mean = sum(pool) / len(pool)
            m = len(pool)
            variance = sum((x - mean) ** 2 for x in pool) / m * (m / (m - 1) if m > 1 else 1.0)
            result = (result - mean) / math.sqrt(variance + 1e-8)
        return (result * torch.tensor(weights, dtype=torch.float64)).float()


def prefixes(path: Path) -> Iterator[Path]:
    return ((path[0], path[1][:depth]) for depth in range(len(path[1]) + 1))


# A tree as nested lists: an inner node holds its children, a leaf its reward.
REWARDS = st.sampled_from([Fraction(-1), Fraction(1), Fraction(0), Fraction(1, 2)])
TREES = st.recursive(REWARDS, lambda node: st.lists(node, min_size=1, max_size=3), max_leaves=9)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    rows: list[TreeRow] = []
    rewards: list[Fraction] = []

    def add(prompt: str, ids: tuple[int, ...], lengths: tuple[int, ...], reward: Fraction) -> None:
        rows.append(TreeRow(prompt_id=prompt, node_ids=ids, node_lengths=lengths))
        rewards.append(reward)

    def grow(prompt: str, tree: list | Fraction, ids: tuple[int, ...], lengths: tuple[int, ...]) -> None:
        if isinstance(tree, Fraction):
            return add(prompt, ids, (*lengths[:-1], lengths[-1] + 1), tree)
        if ids and draw(st.integers(0, 9)) == 9:
            add(prompt, ids, lengths, draw(REWARDS))  # it ends where others continue
        # Small ids occur again under other parents and in other prompts: only the path tells nodes apart.
        nodes = draw(st.lists(st.integers(-2, 5), min_size=len(tree), max_size=len(tree), unique=True))
        for node, child in zip(nodes, tree, strict=True):
            grow(prompt, child, (*ids, node), (*lengths, draw(st.integers(0, 3))))
        return None

    for prompt in range(draw(st.integers(1, 3))):
        tree = draw(TREES)
        grow(f"p{prompt}", tree if isinstance(tree, list) else [tree], (), ())
    width = max(sum(row.node_lengths) for row in rows) + draw(st.integers(0, 2))
    holes = draw(st.booleans())
    mask = []
    for row in rows:
        tokens = sum(row.node_lengths)
        marks = [draw(st.integers(0, 1)) if holes else 1 for _ in range(tokens)]
        mask.append(marks + [0] * (width - tokens))
    for copied in draw(st.lists(st.integers(0, len(rows) - 1), max_size=3)):
        rows.append(rows[copied])
        rewards.append(rewards[copied])
        mask.append([0] * width if draw(st.booleans()) else mask[copied])
    order = draw(st.permutations(range(len(rows))))
    return Batch(rows=[rows[i] for i in order], rewards=[rewards[i] for i in order], mask=[mask[i] for i in order])
