"""Observed tokens inside a node change no estimator: written tokens get what they get without an observation."""

import pytest
import torch

from treepo.advantage import ESTIMATORS, TreeRow
from treepo.config import AdvantageConfig

PATHS = ((1, 2), (1, 3), (4, 5), (4, 6))
WRITTEN = [0, 1, 2, 5, 6, 7]


def advantages(estimator: str, lengths: tuple[int, int], mask: list[int], rewards: list[float]) -> torch.Tensor:
    return ESTIMATORS[estimator](
        rewards=torch.tensor(rewards),
        response_mask=torch.tensor([mask] * len(PATHS)),
        rows=[TreeRow(prompt_id="p", node_ids=ids, node_lengths=lengths) for ids in PATHS],
        options=AdvantageConfig(),
    )


@pytest.mark.parametrize("estimator", sorted(ESTIMATORS))
@pytest.mark.parametrize("rewards", [[1.0, -1.0, -1.0, 1.0], [1.0, -1.0, 1.0, 1.0]])
def test_written_tokens_get_what_they_get_without_an_observation(estimator: str, rewards: list[float]) -> None:
    # Two turns of three tokens; the first is shared in pairs and two observed tokens follow it.
    observed = advantages(estimator, (5, 3), [1, 1, 1, 0, 0, 1, 1, 1], rewards)
    plain = advantages(estimator, (3, 3), [1] * 6, rewards)
    torch.testing.assert_close(observed[:, WRITTEN], plain)
    assert plain.abs().max() > 0
    assert torch.equal(observed[:, 3:5], torch.zeros(len(PATHS), 2))
