"""The peers' credits against a slow reading of their papers' equations, on random trees, and by hand."""

import math

import pytest
import torch
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_batches import Batch, Definitions, Path, batches, prefixes

from treepo.advantage import ESTIMATORS, TreeRow
from treepo.config import AdvantageConfig
from treepo.config.policies import SharedTokens


class Peers(Definitions):
    """The equations, prefix by prefix."""

    def value(self, prefix: Path) -> float:
        return float(self.mean(prefix))

    def treerl(self, path: Path) -> list[float]:
        numbers, root = [], self.value((path[0], ()))
        for prefix in list(prefixes(path))[1:]:
            above = (prefix[0], prefix[1][:-1])
            while above[1] and self.children(above) == 1:  # steps are what lies between forks
                above = (above[0], above[1][:-1])
            own = self.value(prefix)
            numbers.append((own - root + own - self.value(above)) / math.sqrt(len(self.through(prefix))))
        return numbers

    def grpo(self, path: Path, depth: int) -> float:
        group = (path[0], path[1][:depth])
        if len(self.through(group)) == 1:
            return float(self.reward[path]) if depth == 0 else 0.0
        return (float(self.reward[path]) - self.value(group)) / self.deviation(group)

    def tree_grpo(self, path: Path) -> list[float]:
        return [self.grpo(path, 0) + self.grpo(path, 1)] * len(path[1])

    def tempo(self, path: Path) -> list[tuple[float, float]]:
        whole, deviation = self.grpo(path, 0), self.deviation((path[0], ()))
        numbers = []
        for prefix in list(prefixes(path))[1:]:
            above = (prefix[0], prefix[1][:-1])
            numbers.append((whole + (self.value(prefix) - self.value(above)) / deviation, whole))
        return numbers

    def tree_loo(self, path: Path) -> list[float]:
        others = [float(self.reward[i]) for i in self.through((path[0], ())) if i != path]
        baseline = sum(others) / len(others) if others else 0.0
        return [(float(self.reward[path]) - baseline) / self.deviation((path[0], ()))] * len(path[1])


POWERS = {SharedTokens.PER_ROW: 0.0, SharedTokens.SQRT: 0.5, SharedTokens.ONCE: 1.0}


@pytest.mark.parametrize("name", ["treerl", "tree_grpo", "tempo", "tree_loo"])
@settings(max_examples=examples(30), deadline=None)
@given(batch=batches(), shared=st.sampled_from(SharedTokens))
def test_a_peer_is_its_equation(name: str, batch: Batch, shared: SharedTokens) -> None:
    definitions = Peers(batch, branch_weights=False)
    if name == "treerl":
        shared = SharedTokens.PER_ROW
    expected = definitions.tokens(getattr(definitions, name), whitened=False, shared_power=POWERS[shared])
    rewards, mask = batch.tensors()
    computed = ESTIMATORS[name](
        rewards=rewards, response_mask=mask, rows=batch.rows, options=AdvantageConfig(shared_tokens=shared)
    )
    # Groups without spread divide remainders of rounding by 1e-6.
    torch.testing.assert_close(computed, expected, atol=1e-5, rtol=1e-5)


#            1 (3 tokens) -- 2 (+1)        2 and 3 hold two tokens
# prompt p <               `- 3 (-1)
#            4 (-1, 2 tokens)
FORK = [
    TreeRow(prompt_id="p", node_ids=(1, 2), node_lengths=(3, 2)),
    TreeRow(prompt_id="p", node_ids=(1, 3), node_lengths=(3, 2)),
    TreeRow(prompt_id="p", node_ids=(4,), node_lengths=(2,)),
]
DEVIATION = math.sqrt(4 / 3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # V(root) = -1/3, V(1) = 0, leaves +1, -1, -1.
        (
            "treerl",
            [
                [2 / 3 / math.sqrt(2)] * 3 + [4 / 3 + 1] * 2,
                [2 / 3 / math.sqrt(2)] * 3 + [-2 / 3 - 1] * 2,
                [-4 / 3, -4 / 3, 0, 0, 0],
            ],
        ),
        # Within tree 1: mean 0, deviation sqrt(2); trajectory 4 is alone in its tree.
        (
            "tree_grpo",
            [
                [4 / 3 / DEVIATION + 1 / math.sqrt(2)] * 5,
                [-2 / 3 / DEVIATION - 1 / math.sqrt(2)] * 5,
                [-2 / 3 / DEVIATION] * 2 + [0] * 3,
            ],
        ),
        # The change of value goes to the first token behind a fork alone.
        (
            "tempo",
            [
                [x / DEVIATION for x in (5 / 3, 4 / 3, 4 / 3, 7 / 3, 4 / 3)],
                [x / DEVIATION for x in (-1 / 3, -2 / 3, -2 / 3, -5 / 3, -2 / 3)],
                [x / DEVIATION for x in (-4 / 3, -2 / 3)] + [0] * 3,
            ],
        ),
        ("tree_loo", [[2 / DEVIATION] * 5, [-1 / DEVIATION] * 5, [-1 / DEVIATION] * 2 + [0] * 3]),
    ],
)
def test_a_peer_by_hand(name: str, expected: list[list[float]]) -> None:
    mask = torch.tensor([[1] * 5, [1] * 5, [1, 1, 0, 0, 0]])
    computed = ESTIMATORS[name](
        rewards=torch.tensor([1.0, -1.0, -1.0]), response_mask=mask, rows=FORK, options=AdvantageConfig()
    )
    torch.testing.assert_close(computed, torch.tensor(expected), atol=1e-5, rtol=1e-5)
