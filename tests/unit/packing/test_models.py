"""Packed forward and backward of Qwen2, Qwen3 and Llama against the same model one row at a time."""

import functools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from benchmarks.packing_passes import (
    CONFIGS,
    OTHER_CONFIGS,
    differences,
    forward_packed,
    grow_rows,
    make_model,
    pass_by_rows,
    pass_packed,
)
from treepo.packing import Rows, TokenShare, lay_out, plan_micro_batches
from treepo.packing.attention import IMPLEMENTATION, interface

model_of = functools.cache(make_model)
KINDS = sorted(CONFIGS)


def assert_equal(model: PreTrainedModel, rows: Rows, seed: int, max_tokens: int | None = None) -> None:
    found = differences(
        pass_packed(model, rows, seed=seed, max_tokens=max_tokens), pass_by_rows(model, rows, seed=seed)
    )
    assert {name: error for name, error in found.items() if not error <= 1e-5} == {}


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=examples(12), derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    prompts=st.integers(1, 3),
    width=st.integers(1, 6),
    length=st.integers(5, 30),
    fork=st.sampled_from([0.0, 0.05, 0.3]),
)
def test_log_probs_entropies_and_every_gradient_equal_those_of_rows(
    kind: str, seed: int, prompts: int, width: int, length: int, fork: float
):
    rng = random.Random(seed)
    rows = grow_rows(
        rng, prompts=prompts, prompt_length=rng.randint(2, 20), width=width, response_length=length, fork=fork
    )
    # One row whose response is not empty, and a row twice, as padding does it.
    rows = rows.select([int((rows.lengths - rows.prompt_lengths).argmax()), *range(len(rows))])
    if int((rows.lengths - rows.prompt_lengths).max()) > 1:
        assert_equal(model_of(kind), rows, seed)


@pytest.mark.parametrize("kind", sorted(OTHER_CONFIGS))
@pytest.mark.parametrize("checkpointing", [False, True])
def test_windows_along_the_path_and_experts_give_what_rows_give(kind: str, checkpointing: bool):
    model = make_model(kind)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    for seed in range(2):
        rows = grow_rows(random.Random(seed), prompts=2, prompt_length=15, width=5, response_length=30)
        assert int(rows.lengths.max()) > 2 * (getattr(model.config, "sliding_window", None) or 12)
        assert_equal(model, rows, seed)


def test_a_window_of_a_packed_row_leaves_out_what_the_window_of_the_row_does():
    """Without the window the numbers are others, so the test above sees it."""
    model = make_model("mistral")
    rows = grow_rows(random.Random(0), width=4, response_length=30)
    windowed = pass_packed(model, rows)
    model.config.sliding_window = None
    for layer in model.model.layers:
        layer.self_attn.sliding_window = None
    assert differences(pass_packed(model, rows), windowed)["log-probs"] > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_checkpointing_recomputes_with_the_tree_of_its_own_micro_batch(
    kind: str, monkeypatch: pytest.MonkeyPatch
):
    """Two forwards, then both backward passes: the first one's layers are recomputed after the second's forward."""
    model = make_model(kind)
    batches = [grow_rows(random.Random(seed), width=5, response_length=30) for seed in (1, 2)]
    expected = [pass_by_rows(model, rows, seed=seed).gradients for seed, rows in enumerate(batches)]
    model.set_attn_implementation(IMPLEMENTATION)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.zero_grad()
    calls: list[int] = []
    kernel = interface.ChainKernel

    def counted(*, share: TokenShare, scale: float):
        calls.append(len(share))
        return kernel(share=share, scale=scale)

    monkeypatch.setattr(interface, "ChainKernel", counted)
    losses = [loss_of(model, rows, seed) for seed, rows in enumerate(batches)]
    sizes = [len(lay_out(rows)) for rows in batches]
    assert sizes[0] != sizes[1]
    for loss in losses:
        loss.backward()
    assert calls == [sizes[0]] * 2 + [sizes[1]] * 2 + [sizes[0]] * 2 + [sizes[1]] * 2
    for name, parameter in model.named_parameters():
        both = expected[0][name] + expected[1][name]
        assert parameter.grad is not None
        assert (parameter.grad - both).norm() <= 1e-5 * both.norm()


def loss_of(model: PreTrainedModel, rows: Rows, seed: int) -> torch.Tensor:
    """The loss of `pass_packed`, not yet backward."""
    count = len(rows.tokens)
    weights = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed)) / count
    return (weights * torch.stack(forward_packed(model, rows), dim=-1)).sum()


def test_a_split_tree_gives_what_the_whole_one_gives():
    rows = grow_rows(random.Random(5), prompts=2, width=8, response_length=40)
    longest = int(rows.lengths.max())
    assert plan_micro_batches(rows, max_tokens=longest).repeated_tokens > 0
    assert_equal(model_of("qwen2"), rows, 5, max_tokens=longest)
    whole, split = (pass_packed(model_of("qwen2"), rows, max_tokens=limit) for limit in (None, longest))
    assert all(error <= 1e-5 for error in differences(split, whole).values())


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_within_its_own_noise(kind: str):
    """As near to float32 as rows in bfloat16 are; Qwen3's norms leave queries and keys in float32 under autocast."""
    rows = grow_rows(random.Random(7), prompts=2, width=6, response_length=40)
    model = model_of(kind)
    exact = pass_by_rows(model, rows)
    stock = differences(pass_by_rows(model, rows, autocast=True), exact)
    packed = differences(pass_packed(model, rows, autocast=True), exact)
    assert stock["gradients"] > 1e-3
    for name in ("log-probs", "entropies", "gradients"):
        assert packed[name] < 2 * stock[name]


def test_one_row_alone_is_the_ordinary_forward():
    assert_equal(model_of("llama"), Rows.of([[3, 4, 5]], [[6, 7, 8, 9]]), 0)


def test_the_implementation_can_be_named_when_a_model_is_built():
    config = make_model("qwen2").config
    config._attn_implementation = IMPLEMENTATION
    model = type(make_model("qwen2"))(config)
    assert model.config._attn_implementation == IMPLEMENTATION


@pytest.fixture
def one_rank(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_rank")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_sharded_by_fsdp2_the_layout_still_reaches_every_layer(checkpointing: bool):
    rows = grow_rows(random.Random(9), width=5, response_length=30)
    model = make_model("qwen2")
    expected = pass_by_rows(model, rows, seed=3)
    model.zero_grad(set_to_none=True)
    model.set_attn_implementation(IMPLEMENTATION)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    policy = MixedPrecisionPolicy(param_dtype=torch.float32, reduce_dtype=torch.float32, cast_forward_inputs=True)
    for layer in model.model.layers:
        fully_shard(layer, mp_policy=policy)
    fully_shard(model, mp_policy=policy)
    loss = loss_of(model, rows, 3)
    loss.backward()
    assert abs(loss.item() - expected.loss) <= 1e-5 * abs(expected.loss)
    for name, parameter in model.named_parameters():
        assert isinstance(parameter.grad, DTensor)
        gradient = expected.gradients[name]
        assert (parameter.grad.full_tensor() - gradient).norm() <= 1e-5 * gradient.norm()
