"""The estimators against the numbers of the published functions (float32, agreement to 1e-4)."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from treepo.advantage import ESTIMATORS, TreeRow
from treepo.config import AdvantageConfig, SubgroupWeighting

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "advantages.json").read_text())

TREEPO = {
    f"tree_rfpp_{weighting.value}_reject{reject}": AdvantageConfig(
        subgroup_weighting=weighting, reject_degenerate=bool(reject)
    )
    for weighting in SubgroupWeighting
    for reject in (0, 1)
}


def _rows(case: dict[str, Any]) -> list[TreeRow]:
    numbers: dict[str, int] = {}
    rows = []
    for path, length in zip(case["tree_paths"], case["response_lens"], strict=True):
        prompt, *nodes = path.split("#")
        full = case["segment_length"]
        lengths = [full] * (len(nodes) - 1) + [length - full * (len(nodes) - 1)]
        ids = tuple(numbers.setdefault(node, len(numbers)) for node in nodes)
        rows.append(TreeRow(prompt_id=prompt, node_ids=ids, node_lengths=tuple(lengths)))
    return rows


def _mask(case: dict[str, Any]) -> Tensor:
    return (torch.arange(case["response_length"]) < torch.tensor(case["response_lens"])[:, None]).long()


def _token_level_rewards(case: dict[str, Any]) -> Tensor:
    rewards = torch.zeros(len(case["rewards"]), case["response_length"])
    last = torch.tensor(case["response_lens"]) - 1
    rewards[torch.arange(len(rewards)), last] = torch.tensor(case["rewards"])
    return rewards


def _assert_matches(case: dict[str, Any], name: str, computed: Tensor) -> None:
    for row, (got, expected) in enumerate(zip(computed, case["advantages"][name], strict=True)):
        padded = torch.zeros_like(got)
        padded[: len(expected)] = torch.tensor(expected)
        torch.testing.assert_close(got, padded, atol=1e-4, rtol=0, msg=lambda text, row=row: f"row {row}: {text}")


@pytest.fixture(params=CASES, ids=lambda case: f"seed{case['seed']}")
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    return request.param


@pytest.mark.parametrize("name", TREEPO)
def test_treepo_equals_the_published_numbers(case: dict[str, Any], name: str) -> None:
    computed = ESTIMATORS["treepo"](
        rewards=_token_level_rewards(case), response_mask=_mask(case), rows=_rows(case), options=TREEPO[name]
    )
    _assert_matches(case, name, computed)


@pytest.mark.parametrize(("name", "discount"), [("segment_eta-1.0", None), ("segment_eta0.5", 0.5)])
def test_treepo_segment_equals_the_published_numbers(case: dict[str, Any], name: str, discount: float | None) -> None:
    computed = ESTIMATORS["treepo_segment"](
        rewards=_token_level_rewards(case),
        response_mask=_mask(case),
        rows=_rows(case),
        options=AdvantageConfig(parent_discount=discount),
    )
    _assert_matches(case, name, computed)


def test_treepo_spo_equals_the_published_numbers(case: dict[str, Any]) -> None:
    computed = ESTIMATORS["treepo_spo"](
        rewards=_token_level_rewards(case), response_mask=_mask(case), rows=_rows(case), options=AdvantageConfig()
    )
    _assert_matches(case, "spo", computed)


def test_a_flat_group_is_the_reinforce_baseline(case: dict[str, Any]) -> None:
    """Without shared nodes only the prompt group is left, which is verl's `reinforce_plus_plus_baseline`."""
    flat = [
        TreeRow(prompt_id=row.prompt_id, node_ids=(index,), node_lengths=(sum(row.node_lengths),))
        for index, row in enumerate(_rows(case))
    ]
    computed = ESTIMATORS["treepo"](
        rewards=_token_level_rewards(case), response_mask=_mask(case), rows=flat, options=AdvantageConfig()
    )
    _assert_matches(case, "rfpp_baseline", computed)
