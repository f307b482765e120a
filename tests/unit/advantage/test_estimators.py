"""Small trees worked out by hand, harmless rows, degenerate batches and bad input."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from treepo.advantage import ESTIMATORS, OPTIONS_READ, TreeRow, refuse_unread, register_estimator
from treepo.advantage.tokens import SpanKind, whiten
from treepo.advantage.treepo import treepo_credit
from treepo.config import AdvantageConfig, ConfigError, SubgroupWeighting
from treepo.config.policies import AdvantageScale, SharedTokens

NAMES = list(ESTIMATORS)


def row(prompt: str, *nodes: tuple[int, int]) -> TreeRow:
    """A path as (node id, tokens) pairs."""
    return TreeRow(
        prompt_id=prompt, node_ids=tuple(n for n, _ in nodes), node_lengths=tuple(tokens for _, tokens in nodes)
    )


def full_mask(rows: Sequence[TreeRow], width: int) -> Tensor:
    tokens = torch.tensor([sum(r.node_lengths) for r in rows])
    return (torch.arange(width) < tokens[:, None]).long()


def estimate(name: str, rows: Sequence[TreeRow], rewards: Sequence[float], mask: Tensor, **options: Any) -> Tensor:
    return ESTIMATORS[name](
        rewards=torch.tensor(rewards, dtype=torch.float64),
        response_mask=mask,
        rows=rows,
        options=AdvantageConfig(**options),
    )


def whitened(table: Sequence[Sequence[float]], mask: Tensor) -> Tensor:
    """The definition, over the tokens themselves."""
    values = torch.tensor(table, dtype=torch.float64)
    marked = values[mask.bool()]
    return ((values - marked.mean()) / (marked.var() + 1e-8).sqrt() * mask).float()


#            1 -- 2 (+1)
# prompt p <   `- 3 (-1)
#            4 (-1)
FORK = [row("p", (1, 2), (2, 1)), row("p", (1, 2), (3, 2)), row("p", (4, 1))]
FORK_REWARDS = [1.0, -1.0, -1.0]
FORK_MASK = full_mask(FORK, 4)


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        # prompt mean -1/3, mean under node 1: 0
        ({}, [(4 / 3 + 1) / 2, (-2 / 3 - 1) / 2, -2 / 3]),
        ({"subgroup_weighting": SubgroupWeighting.GROUP_SIZE}, [(4 + 2) / 5, (-2 - 2) / 5, -2 / 3]),
        # the last trajectory shares no prefix: it keeps the term of the prompt group
        ({"include_root": False}, [1.0, -1.0, -2 / 3]),
        # as independent sampling would weigh it: 1/4, 1/4, 1/2, so the prompt mean is -1/2
        ({"branch_weights": True}, [(1.5 + 1) / 2, (-0.5 - 1) / 2, -0.5]),
    ],
    ids=["average", "group_size", "without_root", "branch_weights"],
)
def test_treepo_by_hand(options: dict[str, Any], numbers: list[float]) -> None:
    expected = whitened([[number] * 4 for number in numbers], FORK_MASK)
    torch.testing.assert_close(estimate("treepo", FORK, FORK_REWARDS, FORK_MASK, **options), expected)


def test_rejection_leaves_out_prefixes_whose_rewards_agree() -> None:
    rewards = [-1.0, -1.0, 1.0]  # node 1 is degenerate
    expected = whitened([[number] * 4 for number in (-2 / 3, -2 / 3, 4 / 3)], FORK_MASK)
    torch.testing.assert_close(estimate("treepo", FORK, rewards, FORK_MASK, reject_degenerate=True), expected)


def test_segments_get_exactly_their_own_tokens() -> None:
    # modified rewards: leaf 2: (3*4/3 + 2*1 + 0)/6 = 1; leaf 3: (3*-2/3 + 2*-1)/6 = -2/3; leaf 4: 3*-2/3/4 = -1/2
    first = (1 - 2 / 3) / 2
    table = [[first, first, 1 - first, 0], [first, first, -2 / 3 - first, -2 / 3 - first], [-0.5, 0, 0, 0]]
    expected = whitened(table, FORK_MASK)
    torch.testing.assert_close(estimate("treepo_segment", FORK, FORK_REWARDS, FORK_MASK), expected)


def test_parent_discount_weakens_the_parents_of_early_segments_more() -> None:
    rows = [row("p", (1, 1), (2, 1), (3, 1)), row("p", (1, 1), (2, 1), (4, 1))]
    # values: leaves +-(2*1 * 3)/(2 + 2 + 2 + 1), inner nodes 0 for equal and opposite leaves; shift by a third leaf
    rows.append(row("p", (1, 1), (5, 1)))
    rewards, mask = [1.0, -1.0, 1.0], full_mask(rows, 3)
    plain = estimate("treepo_segment", rows, rewards, mask, parent_discount=1.0)
    torch.testing.assert_close(plain, estimate("treepo_segment", rows, rewards, mask))
    modified = [(3 * 2 / 3 + 3 * 2 / 3 + 2 * 1) / 9, (3 * -4 / 3 + 3 * -4 / 3 - 2 * 1) / 9, (3 * 2 / 3 + 3 * 2 / 3) / 7]
    two = (modified[0] + modified[1]) / 2
    one = (two + modified[2]) / 2
    table = [
        [one, two - 0.25 * one, modified[0] - 0.5 * two],
        [one, two - 0.25 * one, modified[1] - 0.5 * two],
        [one, modified[2] - 0.5 * one, 0.0],
    ]
    halved = estimate("treepo_segment", rows, rewards, mask, parent_discount=0.5)
    torch.testing.assert_close(halved, whitened(table, mask))


def test_spo_normalises_siblings_only() -> None:
    # leaves 2, 3: values 1, -1 -> 1, -1; nodes 1, 4: values 0, -1 -> 1, -1
    expected = torch.tensor([[1.0, 1, 0, 0], [1, 1, -2, -2], [-1, 0, 0, 0]])
    torch.testing.assert_close(estimate("treepo_spo", FORK, FORK_REWARDS, FORK_MASK), expected)


def test_spo_takes_values_that_are_equal_but_for_rounding_as_equal() -> None:
    rewards = [0.1, 0.2, 0.3, 0.3, 0.2, 0.1]
    assert sum(rewards[:3]) != sum(rewards[3:])
    rows = [row("p", (parent, 1), (leaf, 1)) for parent, leaf in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2), (2, 3)]]
    computed = estimate("treepo_spo", rows, rewards, full_mask(rows, 2))
    assert computed[:, 0].tolist() == [0.0] * 6


def test_spo_takes_a_mean_that_is_zero_but_for_rounding_as_zero() -> None:
    # Node 1 has the reward 0, node 2 the mean of -1, 1/3 and 2/3, which is -4e-17 in floating point.
    leaves = [(3,), (4, 6), (4, 7), (4, 8), (5, 9), (5, 10), (5, 11)]
    rows = [row("p", (1, 1)), *(row("p", (2, 1), *((node, 1) for node in path)) for path in leaves)]
    computed = estimate("treepo_spo", rows, [0, -1, 1, 0, 0, 1, 1, 0], full_mask(rows, 3))
    assert computed[:, 0].tolist() == [0.0] * 8


def test_branch_weights_survive_a_product_of_children_that_underflows() -> None:
    # a spine with one early leaf per fork: the last path's weight is 2^-1200
    spine = 1200
    rows = [row("p", *((0, 1) for _ in range(depth)), (1, 1)) for depth in range(spine)]
    rows.append(row("p", *((0, 1) for _ in range(spine))))
    rewards = [float(depth % 2) for depth in range(spine + 1)]
    computed = estimate("treepo", rows, rewards, full_mask(rows, spine), branch_weights=True)
    assert computed.isfinite().all()
    assert computed[1, 0] > 0 > computed[0, 0]


def test_nodes_are_told_apart_by_their_path_and_not_by_their_id() -> None:
    named = [row("p", (1, 1), (7, 1)), row("p", (2, 1), (7, 1)), row("q", (1, 1), (7, 1)), row("p", (1, 1), (8, 1))]
    unique = [
        row("p", (-(2**62), 1), (10, 1)),
        row("p", (2**62, 1), (11, 1)),
        row("q", (12, 1), (13, 1)),
        row("p", (-(2**62), 1), (14, 1)),
    ]
    rewards, mask = [1.0, -1.0, 1.0, -1.0], full_mask(named, 2)
    for name in NAMES:
        torch.testing.assert_close(estimate(name, named, rewards, mask), estimate(name, unique, rewards, mask))


@pytest.mark.parametrize("name", NAMES)
def test_a_duplicate_changes_no_other_row_and_gets_the_same_advantage(name: str) -> None:
    plain = estimate(name, FORK, FORK_REWARDS, FORK_MASK)
    twice = estimate(name, [*FORK, FORK[1]], [*FORK_REWARDS, -1.0], torch.cat([FORK_MASK, FORK_MASK[1:2]]))
    torch.testing.assert_close(twice, torch.cat([plain, plain[1:2]]))


@pytest.mark.parametrize("name", NAMES)
def test_padding_rows_get_zeros_and_change_nothing(name: str) -> None:
    plain = estimate(name, FORK, FORK_REWARDS, FORK_MASK)
    rows = [row("p"), FORK[0], *FORK, row("p", (1, 2), (9, 1)), row("z", *((n, 9) for n in range(6)))]
    mask = torch.zeros(len(rows), 4, dtype=torch.int64)
    mask[2:5] = FORK_MASK
    padded = estimate(name, rows, [9.0, 9.0, *FORK_REWARDS, float("nan"), 9.0], mask)
    torch.testing.assert_close(padded[2:5], plain)
    assert not padded[[0, 1, 5, 6]].any()


LONE = {"treepo_spo": [1.0, 1.0, 0.0, 0.0]} | {name: [1.0] * 4 for name in ("tree_grpo", "tempo", "tree_loo")}
"""What an only trajectory of an only prompt gets: GRPO's baseline is then 0; whitening leaves nothing."""


@pytest.mark.parametrize("name", NAMES)
def test_a_single_trajectory_is_defined(name: str) -> None:
    rows = [row("p", (1, 2), (2, 1))]
    computed = estimate(name, rows, [1.0], full_mask(rows, 4))
    expected = [value * mark for value, mark in zip(LONE.get(name, [0.0] * 4), [1, 1, 1, 0], strict=True)]
    assert computed.tolist() == [expected]


@pytest.mark.parametrize("name", NAMES)
def test_equal_rewards_give_no_advantage(name: str) -> None:
    computed = estimate(name, FORK, [0.1] * 3, FORK_MASK)
    torch.testing.assert_close(computed, torch.zeros(3, 4), atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_token_is_defined(name: str) -> None:
    rows = [row("p", (1, 1))]
    expected = LONE.get(name, [0.0])[0]
    assert estimate(name, rows, [1.0], torch.ones(1, 1)).tolist() == [[expected]]


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_padding_or_of_nothing_gives_zeros(name: str) -> None:
    assert not estimate(name, FORK, FORK_REWARDS, torch.zeros(3, 4)).any()
    assert estimate(name, [row("p")], [1.0], torch.zeros(1, 4)).tolist() == [[0.0] * 4]
    assert estimate(name, [], [], torch.zeros(0, 4)).shape == (0, 4)
    assert estimate(name, [row("p")], [1.0], torch.zeros(1, 0)).shape == (1, 0)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "tempo"])
def test_holes_in_the_mask_get_zero_and_do_not_count(name: str) -> None:
    mask = FORK_MASK.clone()
    mask[0, 0] = mask[1, 3] = 0
    computed = estimate(name, FORK, FORK_REWARDS, mask)
    assert not computed[mask == 0].any()
    # The same tree without those tokens: only the whitening could differ, and it must not.
    rows = [row("p", (1, 1), (2, 1)), row("p", (1, 2), (3, 1)), row("p", (4, 1))]
    shorter = estimate(name, rows, FORK_REWARDS, full_mask(rows, 4))
    torch.testing.assert_close(computed[1:], shorter[1:])
    torch.testing.assert_close(computed[0, 1:3], shorter[0, :2])


@pytest.mark.parametrize("name", NAMES)
def test_a_path_longer_than_the_response_is_cut(name: str) -> None:
    rows = [row("p", (1, 2), (2, 3)), row("p", (1, 2), (3, 1))]
    cut = [row("p", (1, 2), (2, 1)), row("p", (1, 2), (3, 1))]
    mask = torch.ones(2, 3)
    torch.testing.assert_close(estimate(name, rows, [1.0, -1.0], mask), estimate(name, cut, [1.0, -1.0], mask))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.float32, torch.uint8])
def test_any_type_of_mask_will_do(name: str, dtype: torch.dtype) -> None:
    computed = estimate(name, FORK, FORK_REWARDS, FORK_MASK.to(dtype))
    torch.testing.assert_close(computed, estimate(name, FORK, FORK_REWARDS, FORK_MASK))
    assert computed.dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_token_level_rewards_are_summed(name: str) -> None:
    spread_out = torch.tensor([[0.5, 0.0, 0.5, 0.0], [0.0, -1.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]])
    computed = ESTIMATORS[name](rewards=spread_out, response_mask=FORK_MASK, rows=FORK, options=AdvantageConfig())
    torch.testing.assert_close(computed, estimate(name, FORK, FORK_REWARDS, FORK_MASK))


def test_whitening_weighs_each_value_by_its_tokens() -> None:
    values, counts = np.array([2.0, -1.0, 7.0]), np.array([3, 1, 0])
    tokens = np.array([2.0, 2.0, 2.0, -1.0])
    expected = (values - tokens.mean()) / np.sqrt(tokens.var(ddof=1) + 1e-8)
    np.testing.assert_allclose(whiten(values, counts), expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("rows", "rewards", "mask", "complaint"),
    [
        (FORK[:2], FORK_REWARDS, FORK_MASK, "number of rows"),
        (FORK, FORK_REWARDS[:2], FORK_MASK, "rewards has shape"),
        (FORK, [1.0, float("inf"), 0.0], FORK_MASK, "row 1: the reward is not finite"),
        (FORK, FORK_REWARDS, torch.ones(3, 4), "row 0: the response mask marks tokens beyond"),
        ([*FORK[:2], row("p")], FORK_REWARDS, FORK_MASK, "row 2: the response mask marks tokens beyond"),
    ],
    ids=["rows", "rewards", "infinite", "beyond", "no_path"],
)
def test_bad_input_is_refused(
    name: str, rows: list[TreeRow], rewards: list[float], mask: Tensor, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        estimate(name, rows, rewards, mask)


@pytest.mark.parametrize("lengths", [(1,), (1, 2, 3), (2, -1)])
def test_a_row_needs_a_sound_length_for_every_node(lengths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="prompt 'p': every node needs a number of tokens"):
        TreeRow(prompt_id="p", node_ids=(4, 5), node_lengths=lengths)


@pytest.mark.parametrize("discount", [1.5, -1.0])
def test_parent_discount_has_a_range(discount: float) -> None:
    with pytest.raises(ValueError, match="than or equal to"):
        estimate("treepo_segment", FORK, FORK_REWARDS, FORK_MASK, parent_discount=discount)


def test_the_registry_refuses_a_name_that_is_taken_and_an_option_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="registered already"):
        register_estimator("treepo", reads=(), spans=SpanKind.PATH, whitened=True)(treepo_credit)
    with pytest.raises(ValueError, match="cannot read 'root'"):
        register_estimator("another", reads=("root",), spans=SpanKind.PATH, whitened=True)
    assert "another" not in ESTIMATORS


OTHERWISE = {
    "subgroup_weighting": SubgroupWeighting.GROUP_SIZE,
    "include_root": False,
    "reject_degenerate": True,
    "branch_weights": True,
    "parent_discount": 0.5,
    "prompt_deviation": True,
    "shrink": "auto",
    "scale": AdvantageScale.PROMPT,
    "shared_tokens": SharedTokens.ONCE,
}


@pytest.mark.parametrize("option", AdvantageConfig.model_fields)
@pytest.mark.parametrize("name", NAMES)
def test_an_estimator_reads_the_options_that_it_says_and_refuses_every_other(name: str, option: str) -> None:
    tree = [row("p", (1, 1), (leaf, 1)) for leaf in (3, 4, 5)] + [row("p", (2, 1), (7, 1))]
    tree += [row("p", (2, 1), (6, 0), (leaf, 1)) for leaf in (9, 10)]
    tree += [row("p", (5, 1), (leaf, 1)) for leaf in (13, 14)]
    tree += [row("p", (8, 2)), row("q", (1, 2)), row("q", (2, 2)), row("q", (3, 2))]
    rewards, mask = [1, 0, 0, 1, 1, 0, 1, 1, 0, 0, 0, 1], full_mask(tree, 2)
    plain = estimate(name, tree, rewards, mask)
    if option not in OPTIONS_READ[name]:
        with pytest.raises(ConfigError, match=f"treepo.advantage.{option}=.* is refused: it is read with algorithm"):
            estimate(name, tree, rewards, mask, **{option: OTHERWISE[option]})
        return
    assert not torch.equal(estimate(name, tree, rewards, mask, **{option: OTHERWISE[option]}), plain)


def test_every_option_is_read_by_some_estimator() -> None:
    assert set().union(*OPTIONS_READ.values()) == set(AdvantageConfig.model_fields) == set(OTHERWISE)


def test_an_estimator_that_is_not_registered_reads_nothing() -> None:
    with pytest.raises(ConfigError, match="shared_tokens=once is refused"):
        refuse_unread("grpo", AdvantageConfig(shared_tokens=SharedTokens.ONCE))
    refuse_unread("grpo", AdvantageConfig())
