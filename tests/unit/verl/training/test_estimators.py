"""The tree estimators as verl calls them: with the trainer's trees, or with independent samples."""

from typing import Any

import numpy as np
import pytest
import torch
from verl.trainer.ppo.core_algos import get_adv_estimator_fn

from treepo.advantage import ESTIMATORS, TreeRow
from treepo.config import AdvantageConfig
from treepo.verl.training.estimators import independent_rows, register_estimators, tree_rows

UIDS = np.array(["a", "a", "a", "b", "b", "pad"], dtype=object)
REWARDS = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0])
# A hole, as a tool's answer leaves one; the last row is padding.
MASK = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])


@pytest.fixture(autouse=True)
def registered() -> None:
    register_estimators()


def estimate(name: str, rewards: torch.Tensor = REWARDS) -> torch.Tensor:
    per_token = torch.zeros_like(MASK, dtype=torch.float32)
    per_token[:, 0] = rewards
    function: Any = get_adv_estimator_fn(name)
    advantages, returns = function(token_level_rewards=per_token, response_mask=MASK, index=UIDS, config=None)
    assert advantages is returns
    return advantages


def test_independent_samples_are_paths_of_one_node_as_long_as_their_last_token() -> None:
    rows = independent_rows(UIDS, MASK)
    assert [row.prompt_id for row in rows] == list(UIDS)
    assert [row.node_lengths for row in rows] == [(2,), (4,), (1,), (4,), (2,), (0,)]
    assert len({row.node_ids for row in rows}) == len(rows)


def test_without_trees_a_reward_is_compared_with_its_prompts_mean_and_whitened_over_the_batchs_tokens() -> None:
    numbers = REWARDS - torch.tensor([1 / 3, 1 / 3, 1 / 3, 1.0, 1.0, 0.0])
    tokens = MASK.sum(dim=1)
    mean = (numbers * tokens).sum() / tokens.sum()
    variance = ((numbers - mean) ** 2 * tokens).sum() / (tokens.sum() - 1)
    expected = ((numbers - mean) / torch.sqrt(variance + 1e-8))[:, None] * MASK
    torch.testing.assert_close(estimate("treepo"), expected.float())


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_every_estimator_takes_independent_samples(name: str) -> None:
    advantages = estimate(name)
    assert torch.isfinite(advantages).all()
    assert (advantages[MASK == 0] == 0).all()
    assert advantages[0, 0] > 0 > advantages[1, 0]


def test_the_trees_that_the_trainer_binds_are_taken_instead() -> None:
    # The first two share a node, so that the first is compared with the second alone as well.
    rows = [
        TreeRow(prompt_id=row.prompt_id, node_ids=row.node_ids, node_lengths=row.node_lengths)
        for row in independent_rows(UIDS, MASK)
    ]
    rows[:2] = [
        TreeRow(prompt_id="a", node_ids=(9, 1), node_lengths=(1, 1)),
        TreeRow(prompt_id="a", node_ids=(9, 2), node_lengths=(1, 3)),
    ]
    alone = estimate("treepo")
    with tree_rows(rows, AdvantageConfig()):
        bound = estimate("treepo")
    assert not torch.allclose(bound, alone)
    torch.testing.assert_close(estimate("treepo"), alone)
