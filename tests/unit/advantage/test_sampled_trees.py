"""The estimators on trees that the real sampler grew: unequal segments, split nodes, early ends, fallbacks."""

import itertools
import random
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import advantage as benchmark
from treepo.advantage import ESTIMATORS, OPTIONS_READ, TreeRow
from treepo.advantage.forest import branch_means, build_forest
from treepo.config import AdvantageConfig, SubgroupWeighting, load_config
from treepo.config.policies import AdvantageScale, SharedTokens
from treepo.rollout import grow_at_once
from treepo.tree import Segment, SegmentRequest, Tree, TreeSampler

NAMES = list(ESTIMATORS)
ONE_NUMBER = {name for name in NAMES if name in ("treepo", "tree_grpo", "tree_loo")}
EOS = 0
OPTIONS: dict[str, dict[str, Any]] = {
    "cuts inside segments": {
        "max_divergence": 1,
        "initial_divergence": [1, 3],
        "fallback": {"window": 3, "candidates": "any"},
    },
    "ramp": {"divergence": {"budget": "ramp"}},
    "fixed, cuts at the least likely token": {"fallback": {"cut": "lowest_logprob"}},
    "fixed, no fallback": {"fallback": {"cut": "none"}},
}


def grow(prompt: int, options: dict[str, Any]) -> Tree:
    draw = random.Random(prompt)
    sampler = TreeSampler(
        prompt_id=f"p{prompt}",
        prompt_tokens=[1],
        config=load_config({"width": 8, "segment_length": 5, "max_depth": 4, **options}),
        max_response_length=18,
        eos_token_ids=frozenset({EOS}),
        decode=lambda tokens: "",
    )

    def answer(request: SegmentRequest) -> Segment:
        length = draw.randint(1, request.max_tokens) if draw.random() < 0.35 else request.max_tokens
        tokens = [draw.randint(1, 9) for _ in range(length)]
        if length < request.max_tokens or draw.random() < 0.3:
            tokens[-1] = EOS
        return Segment(
            request_id=request.id,
            tokens=tokens,
            log_probs=[-draw.expovariate(1.0) for _ in tokens],
            stopped=tokens[-1] == EOS,
        )

    return grow_at_once(sampler, answer)


BRANCH_WEIGHTS: list[tuple[str, dict[str, Any]]] = [
    (name, {"branch_weights": True}) for name in NAMES if "branch_weights" in OPTIONS_READ[name]
]


class Batch:
    """Some prompts' trees as the trainer would hand them on, with random rewards."""

    def __init__(self, options: dict[str, Any], prompts: int = 6) -> None:
        self.trees = [grow(prompt, options) for prompt in range(prompts)]
        self.leaves = [(tree, leaf) for tree in self.trees for leaf in tree.trajectories]
        self.rows = [
            TreeRow(prompt_id=tree.prompt_id, node_ids=leaf.path.node_ids, node_lengths=leaf.path.node_lengths)
            for tree, leaf in self.leaves
        ]
        draw = random.Random(0)
        self.rewards = [float(draw.choice([-1, 0, 1])) for _ in self.rows]
        lengths = torch.tensor([leaf.length for _, leaf in self.leaves])
        self.mask = (torch.arange(20) < lengths[:, None]).long()

    def estimate(self, name: str, **options: Any) -> Tensor:
        return ESTIMATORS[name](
            rewards=torch.tensor(self.rewards),
            response_mask=self.mask,
            rows=self.rows,
            options=AdvantageConfig(**options),
        )


@pytest.fixture(params=OPTIONS)
def batch(request: pytest.FixtureRequest) -> Batch:
    return Batch(OPTIONS[request.param])


def segments(row: TreeRow, numbers: Tensor) -> Sequence[Tensor]:
    """The numbers of a row, node by node."""
    return numbers[: sum(row.node_lengths)].split(list(row.node_lengths))


def test_the_trees_hold_what_the_tests_are_about() -> None:
    batch = Batch(OPTIONS["cuts inside segments"])
    starts = {sum(row.node_lengths[:depth]) for row in batch.rows for depth in range(len(row.node_lengths))}
    assert any(start % 5 for start in starts), "some nodes were split"
    assert any(leaf.from_fallback for _, leaf in batch.leaves)
    assert len({len(row.node_ids) for row in batch.rows}) > 2, "paths end at several depths"
    assert len({length for row in batch.rows for length in row.node_lengths}) > 3, "segments are unequal"
    fewer = Batch(OPTIONS["fixed, no fallback"])
    assert len({len(tree.trajectories) for tree in fewer.trees}) > 1, "groups are of unequal size"


@pytest.mark.parametrize(("name", "options"), [(name, {}) for name in NAMES] + BRANCH_WEIGHTS)
def test_a_segment_gets_one_number_and_exactly_its_own_tokens(batch: Batch, name: str, options: dict[str, Any]) -> None:
    computed = batch.estimate(name, **options)
    assert computed.isfinite().all()
    assert not computed[batch.mask == 0].any()
    edges = 0
    for row, numbers in zip(batch.rows, computed, strict=True):
        parts = segments(row, numbers)
        # tempo gives a node's first token a number of its own.
        assert all((part[1:] == part[-1]).all() and (name == "tempo" or part[0] == part[-1]) for part in parts)
        edges += sum(float(before[0]) != float(after[0]) for before, after in itertools.pairwise(parts))
    assert (edges == 0) == (name in ONE_NUMBER), "some give a trajectory one number, the others one per segment"


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, {}) for name in ("treepo_segment", "treepo_spo", "treepo_branch", "treerl")]
    + [case for case in BRANCH_WEIGHTS if case[0] != "treepo"],
)
def test_a_shared_token_gets_the_same_segment_advantage_in_every_trajectory(
    batch: Batch, name: str, options: dict[str, Any]
) -> None:
    by_node: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row, numbers in zip(batch.rows, batch.estimate(name, **options), strict=True):
        for node, part in zip(row.node_ids, segments(row, numbers), strict=True):
            by_node[row.prompt_id, node].append(float(part[0]))
    assert max(map(len, by_node.values())) > 2
    assert all(len(set(values)) == 1 for values in by_node.values())


def test_siblings_of_equal_reward_get_equal_treepo_advantages(batch: Batch) -> None:
    by_parent: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row, reward, numbers in zip(batch.rows, batch.rewards, batch.estimate("treepo"), strict=True):
        by_parent[row.prompt_id, row.node_ids[:-1], reward].append(float(numbers[0]))
    assert max(map(len, by_parent.values())) > 1
    assert all(values == pytest.approx([values[0]] * len(values)) for values in by_parent.values())


def test_branch_weights_are_the_products_of_one_over_children(batch: Batch) -> None:
    children: dict[tuple[str, tuple[int, ...]], set[int]] = defaultdict(set)
    for row in batch.rows:
        for depth, node in enumerate(row.node_ids):
            children[row.prompt_id, row.node_ids[:depth]].add(node)
    means: dict[str, Fraction] = defaultdict(Fraction)
    weights: dict[str, Fraction] = defaultdict(Fraction)
    for row, reward in zip(batch.rows, batch.rewards, strict=True):
        weight = Fraction(1)
        for depth in range(len(row.node_ids)):
            weight /= len(children[row.prompt_id, row.node_ids[:depth]])
        weights[row.prompt_id] += weight
        means[row.prompt_id] += weight * Fraction(reward)
    assert set(weights.values()) == {1}

    forest = build_forest(batch.rows, torch.ones(len(batch.rows), dtype=torch.bool))
    rewards = torch.tensor(batch.rewards, dtype=torch.float64).gather(0, forest.first_rows)
    found = branch_means(forest, rewards)[0].tolist()
    assert found == pytest.approx([float(means[tree.prompt_id]) for tree in batch.trees])


VALUES: dict[str, list[Any]] = {
    "subgroup_weighting": list(SubgroupWeighting),
    "include_root": [True, False],
    "reject_degenerate": [False, True],
    "branch_weights": [False, True],
    "parent_discount": [None, 0.5],
    "prompt_deviation": [False, True],
    "shrink": [2.0, 0.0, "auto"],
    "scale": list(AdvantageScale),
    "shared_tokens": [SharedTokens.PER_ROW, SharedTokens.SQRT],
}


def all_options(name: str) -> list[dict[str, Any]]:
    """Every combination of the options that an estimator reads."""
    read = sorted(OPTIONS_READ[name])
    return [dict(zip(read, values, strict=True)) for values in itertools.product(*(VALUES[option] for option in read))]


UNSCALED = {"treerl", "tree_grpo", "tempo", "tree_loo"}
"""Those that leave rewards in their units, at least where a prompt has a single trajectory."""
ONE = TreeRow(prompt_id="p", node_ids=(1, 2), node_lengths=(1, 2))
TWIN = TreeRow(prompt_id="p", node_ids=(1, 3), node_lengths=(1, 1))
OTHER = TreeRow(prompt_id="q", node_ids=(1,), node_lengths=(3,))
BARE = TreeRow(prompt_id="q", node_ids=(7, 8, 9), node_lengths=(0, 1, 0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("rows", "rewards"),
    [
        ([ONE], [1.0]),
        ([ONE, ONE, ONE], [1.0] * 3),
        ([ONE, TWIN, OTHER], [0.3] * 3),
        ([ONE, TWIN, OTHER], [1e30, -1e30, 0.0]),
        ([ONE, TWIN, OTHER], [1e-30, 0.0, 0.0]),
        ([ONE, TWIN, OTHER, BARE], [1.0, -1.0, 1.0, 1.0]),
    ],
    ids=["one", "duplicates", "equal", "huge", "tiny", "empty nodes"],
)
def test_degenerate_batches_are_finite_under_every_option(name: str, rows: list[TreeRow], rewards: list[float]) -> None:
    lengths = torch.tensor([sum(row.node_lengths) for row in rows])
    for options in all_options(name):
        computed = ESTIMATORS[name](
            rewards=torch.tensor(rewards, dtype=torch.float64),
            response_mask=(torch.arange(4) < lengths[:, None]).long(),
            rows=rows,
            options=AdvantageConfig(**options),
        )
        assert computed.isfinite().all(), options
        if name not in UNSCALED and options.get("scale") is not AdvantageScale.NONE:
            assert computed.abs().max() < 10, options


@pytest.mark.parametrize("name", ["treepo", "treepo_segment"])
def test_the_benchmark_compares_functions_that_agree(name: str) -> None:
    batch = benchmark.make_batch(prompts=5, width=6, depth=4, segment_length=3, seed=1)
    assert batch.mask.shape == (30, 12)
    functions = benchmark.contenders(batch)
    fast, plain = functions[name](), functions[f"plain loop, {name}"]()
    assert isinstance(fast, Tensor)
    assert isinstance(plain, Tensor)
    torch.testing.assert_close(fast, plain, atol=1e-4, rtol=0)
    floor = functions["floor: one tensor, torch"]()
    assert isinstance(floor, Tensor)
    assert floor.shape == fast.shape
