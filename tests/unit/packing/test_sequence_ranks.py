"""Several processes that share one packed sequence give the log-probs, entropies, losses and gradients of rows."""

from functools import partial

import pytest
import torch
from sequence_ranks import KINDS, Found, compare_with_rows

from benchmarks.packing_exactness import on_ranks

OTHERS = ("split into micro-batches", "special rows", "fewer tokens than ranks")


@pytest.fixture(
    scope="module", params=[2, pytest.param(3, marks=pytest.mark.nightly)], ids=lambda ranks: f"{ranks} ranks"
)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Found]:
    """What each rank found; models of every kind on two."""
    kinds = KINDS if request.param == 2 else ("qwen2", "gemma3")
    return on_ranks(request.param, tmp_path_factory.mktemp("ranks"), partial(compare_with_rows, kinds=kinds))


def test_every_model_gives_the_numbers_of_rows(found: list[Found]) -> None:
    errors = {case: numbers for case, numbers in found[0].errors.items() if "bfloat16" not in case}
    assert {"qwen2", "gemma3", "gemma3, gradient checkpointing", *OTHERS} <= errors.keys()
    assert len(found) == 3 or {*KINDS, "qwen3, gradient checkpointing"} <= errors.keys()
    assert {case: numbers for case, numbers in errors.items() if not max(numbers.values()) <= 1e-5} == {}


def test_in_bfloat16_the_numbers_are_as_near_to_float32_as_those_of_rows(found: list[Found]) -> None:
    ours, noise = (found[0].errors[case] for case in ("bfloat16", "noise: rows in bfloat16"))
    assert noise["gradients"] > 1e-3
    for name in ("log-probs", "entropies", "gradients"):
        assert ours[name] < 2 * noise[name]


def test_every_rank_has_the_same_scores_bit_by_bit(found: list[Found]) -> None:
    assert all(torch.equal(of_rank.log_probs, found[0].log_probs) for of_rank in found[1:])
