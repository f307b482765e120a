"""The vectorised estimators against a slow reading of the definitions, on random trees."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from treepo.advantage import ESTIMATORS, TreeRow
from treepo.config import AdvantageConfig, SubgroupWeighting

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

    def mean(self, prefix: Path) -> Fraction:
        group = self.through(prefix)
        weighted = sum((self.reward[i] * self.weight[i] for i in group), Fraction(0))
        return weighted / sum((self.weight[i] for i in group), Fraction(0))

    def treepo(self, path: Path, options: AdvantageConfig) -> Fraction:
        longest = max(len(nodes) for _, nodes in self.reward)
        own = self.reward[path]
        root_size = len(self.through((path[0], ())))
        root = (own - (self.mean((path[0], ())) if root_size > 1 else 0), root_size)
        terms = [root] if options.include_root else []
        for depth in range(1, longest):
            if depth > len(path[1]):
                continue  # the path stands for itself
            prefix = (path[0], path[1][:depth])
            group = self.through(prefix)
            degenerate = len({self.reward[i] for i in group}) == 1
            if len(group) > 1 and not (options.reject_degenerate and degenerate):
                terms.append((own - self.mean(prefix), len(group)))
        terms = terms or [root]
        if options.subgroup_weighting is SubgroupWeighting.GROUP_SIZE:
            return sum((term * size for term, size in terms), Fraction(0)) / sum(size for _, size in terms)
        return sum((term for term, _ in terms), Fraction(0)) / len(terms)

    def modified_reward(self, path: Path) -> Fraction:
        sizes = [len(self.through(prefix)) for prefix in prefixes(path)]
        terms = [(self.reward[path] - self.mean(prefix)) for prefix in prefixes(path)]
        return sum((t * s for t, s in zip(terms, sizes, strict=True)), Fraction(0)) / sum(sizes)

    def value(self, prefix: Path, leaf_value: Callable[[Path], Fraction]) -> Fraction:
        values = [self.value((prefix[0], (*prefix[1], node)), leaf_value) for node in self.next_nodes(prefix)]
        if prefix in self.reward:
            values.append(leaf_value(prefix))
        return sum(values, Fraction(0)) / len(values)

    def segment(self, path: Path, discount: Fraction | None) -> list[float]:
        length = len(path[1])
        values = [Fraction(0), *(self.value(prefix, self.modified_reward) for prefix in list(prefixes(path))[1:])]
        factor = [Fraction(1) if discount is None else discount ** (length + 1 - k) for k in range(length + 1)]
        return [float(values[k] - factor[k] * values[k - 1]) for k in range(1, length + 1)]

    def spo(self, path: Path) -> list[float]:
        values = [0.0]
        for prefix in list(prefixes(path))[1:]:
            above = (prefix[0], prefix[1][:-1])
            siblings = [
                self.value((prefix[0], (*above[1], n)), self.reward.__getitem__) for n in self.next_nodes(above)
            ]
            own = self.value(prefix, self.reward.__getitem__)
            if len(siblings) > 1:
                mean = sum(siblings, Fraction(0)) / len(siblings)
                variance = sum(((v - mean) ** 2 for v in siblings), Fraction(0)) / len(siblings)
                values.append(float(own - mean) / math.sqrt(variance) if variance else 0.0)
            else:
                values.append(float(own))
        return [own - parent for parent, own in pairwise(values)]

    def tokens(self, per_node: Callable[[Path], list[float]], *, whitened: bool) -> Tensor:
        seen: set[Path] = set()
        pool: list[float] = []
        table = [[0.0] * len(mask) for mask in self.batch.mask]
        for row, mask, line in zip(self.batch.rows, self.batch.mask, table, strict=True):
            if not any(mask):
                continue
            path = (row.prompt_id, row.node_ids)
            numbers = per_node(path)
            owner = [number for number, n in zip(numbers, row.node_lengths, strict=True) for _ in range(n)]
            for position, number in enumerate(owner):
                if mask[position]:
                    line[position] = number
                    if path not in seen:
                        pool.append(number)
            seen.add(path)
        result = torch.tensor(table, dtype=torch.float64)
        if whitened and pool:
            mean = sum(pool) / len(pool)
            m = len(pool)
            variance = sum((x - mean) ** 2 for x in pool) / m * (m / (m - 1) if m > 1 else 1.0)
            result = (result - mean) / math.sqrt(variance + 1e-8) * torch.tensor(self.batch.mask)
        return result.float()


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
            add(prompt, ids, lengths, draw(REWARDS))  # it ends where others go on
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


OPTIONS = st.builds(
    AdvantageConfig,
    subgroup_weighting=st.sampled_from(list(SubgroupWeighting)),
    include_root=st.booleans(),
    reject_degenerate=st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(batch=batches(), options=OPTIONS, branch_weights=st.booleans())
def test_treepo_is_its_definition(batch: Batch, options: AdvantageConfig, branch_weights: bool) -> None:
    definitions = Definitions(batch, branch_weights=branch_weights)
    expected = definitions.tokens(lambda path: [float(definitions.treepo(path, options))] * len(path[1]), whitened=True)
    rewards, mask = batch.tensors()
    computed = ESTIMATORS["treepo"](
        rewards=rewards,
        response_mask=mask,
        rows=batch.rows,
        options=options.model_copy(update={"branch_weights": branch_weights}),
    )
    torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=200, deadline=None)
@given(batch=batches(), discount=st.none() | st.sampled_from([0.0, 0.5, 0.75, 1.0]), branch_weights=st.booleans())
def test_treepo_segment_is_its_definition(batch: Batch, discount: float | None, branch_weights: bool) -> None:
    definitions = Definitions(batch, branch_weights=branch_weights)
    exact = None if discount is None else Fraction(discount)
    expected = definitions.tokens(lambda path: definitions.segment(path, exact), whitened=True)
    rewards, mask = batch.tensors()
    computed = ESTIMATORS["treepo_segment"](
        rewards=rewards,
        response_mask=mask,
        rows=batch.rows,
        options=AdvantageConfig(branch_weights=branch_weights, parent_discount=discount),
    )
    torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=200, deadline=None)
@given(batch=batches(), branch_weights=st.booleans())
def test_treepo_spo_is_its_definition_with_and_without_branch_weights(batch: Batch, branch_weights: bool) -> None:
    definitions = Definitions(batch, branch_weights=branch_weights)
    expected = definitions.tokens(definitions.spo, whitened=False)
    rewards, mask = batch.tensors()
    computed = ESTIMATORS["treepo_spo"](
        rewards=rewards,
        response_mask=mask,
        rows=batch.rows,
        options=AdvantageConfig(branch_weights=branch_weights),
    )
    torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["treepo", "treepo_segment", "treepo_spo"])
@settings(max_examples=50, deadline=None)
@given(batch=batches(), data=st.data())
def test_the_order_of_the_rows_does_not_matter(name: str, batch: Batch, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(batch.rows))))
    rewards, mask = batch.tensors()
    plain = ESTIMATORS[name](rewards=rewards, response_mask=mask, rows=batch.rows, options=AdvantageConfig())
    shuffled = ESTIMATORS[name](
        rewards=rewards[order],
        response_mask=mask[order],
        rows=[batch.rows[i] for i in order],
        options=AdvantageConfig(),
    )
    torch.testing.assert_close(shuffled, plain[order])
