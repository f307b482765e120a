"""Attention by chains and by paths against a dense mask."""

import random
from itertools import pairwise
from typing import Any

import pytest
import torch
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import Gemma3TextConfig, GemmaConfig, LlamaConfig, PretrainedConfig, Qwen2Config, Qwen3MoeConfig

from benchmarks.packing_passes import CONFIGS, OTHER_CONFIGS, grow_rows, make_model
from treepo.packing import Layout, Rows, TokenShare, lay_out, whole_share
from treepo.packing.attention import (
    IMPLEMENTATION,
    PackedAttention,
    check_model,
    flash,
    model_inputs,
    packed_attention,
)
from treepo.packing.attention.chains import ChainKernel
from treepo.packing.attention.kernel import Kernel, attend
from treepo.packing.attention.paths import FlashKernel, PathCall, path_attention, plan_calls


def dense_mask(layout: Layout) -> Tensor:
    at = torch.arange(len(layout))
    return (at[None] <= at[:, None]) & (at[:, None] < layout.ends[None])


def tokens_first(heads: Tensor) -> Tensor:
    return heads[0].transpose(0, 1)


def by_kernel(heads: list[Tensor], kernel: Kernel) -> Tensor:
    """Attention in the shape that models have, (1, heads, tokens, head size)."""
    return attend(*map(tokens_first, heads), kernel=kernel).transpose(0, 1)[None]


def by_chains(heads: list[Tensor], share: TokenShare, scale: float) -> Tensor:
    return by_kernel(heads, ChainKernel(share=share, scale=scale))


def by_paths(heads: list[Tensor], share: TokenShare, scale: float, window: int | None = None) -> Tensor:
    output = path_attention(*map(tokens_first, heads), share=share, scale=scale, window=window)
    return output.transpose(0, 1)[None]


def random_heads(layout: Layout, seed: int, dtype: torch.dtype) -> list[Tensor]:
    """Query of four heads, key and value of two, with the memory layout that models have."""
    generator = torch.Generator().manual_seed(seed)
    heads = [torch.randn(1, len(layout), n, 8, generator=generator, dtype=torch.float64) for n in (4, 2, 2)]
    return [head.to(dtype).transpose(1, 2).requires_grad_() for head in heads]


@settings(deadline=None, max_examples=examples(30))
@given(seed=st.integers(0, 10_000), width=st.integers(1, 9), length=st.integers(1, 30), fork=st.floats(0, 0.5))
def test_chains_give_the_output_and_gradients_of_a_dense_mask(seed: int, width: int, length: int, fork: float):
    rng = random.Random(seed)
    rows = grow_rows(rng, prompts=2, prompt_length=rng.randint(1, 9), width=width, response_length=length, fork=fork)
    layout = lay_out(rows)
    heads = random_heads(layout, seed, torch.float64)
    expected = scaled_dot_product_attention(*heads, attn_mask=dense_mask(layout), scale=0.3, enable_gqa=True)
    found = by_chains(heads, whole_share(layout), 0.3)
    # The kernel's exponential is good to single precision, also on doubles.
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    for mine, theirs in zip(
        torch.autograd.grad((found * weight).sum(), heads),
        torch.autograd.grad((expected * weight).sum(), heads),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_chains_in_half_precision_stay_as_near_to_the_truth_as_one_dense_call():
    layout = lay_out(grow_rows(random.Random(3), width=12, response_length=60))
    heads = random_heads(layout, 0, torch.bfloat16)
    mask = dense_mask(layout)
    exact = scaled_dot_product_attention(*(h.double() for h in heads), attn_mask=mask, scale=0.3, enable_gqa=True)
    dense = scaled_dot_product_attention(*heads, attn_mask=mask, scale=0.3, enable_gqa=True)
    found = by_chains(heads, whole_share(layout), 0.3)
    assert found.dtype == torch.bfloat16
    assert (found - exact).norm() < 1.5 * (dense - exact).norm()


def windowed_mask(layout: Layout, window: int | None) -> Tensor:
    """A window counts positions along the path, not places."""
    ahead = layout.positions[:, None] - layout.positions[None]
    return dense_mask(layout) & (ahead < (window or len(layout)))


@settings(deadline=None, max_examples=examples(20))
@given(
    seed=st.integers(0, 10_000),
    width=st.integers(1, 6),
    length=st.integers(1, 20),
    fork=st.floats(0, 0.5),
    window=st.sampled_from([None, 1, 3, 8]),
)
def test_paths_give_the_output_and_gradients_of_a_dense_mask(
    seed: int, width: int, length: int, fork: float, window: int | None
):
    rows = grow_rows(random.Random(seed), prompts=2, prompt_length=5, width=width, response_length=length, fork=fork)
    layout = lay_out(rows)
    heads = random_heads(layout, seed, torch.float64)
    mask = windowed_mask(layout, window)
    expected = scaled_dot_product_attention(*heads, attn_mask=mask, scale=0.3, enable_gqa=True)
    found = by_paths(heads, whole_share(layout), 0.3, window)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad((found * weight).sum(), heads),
        torch.autograd.grad((expected * weight).sum(), heads),
        atol=1e-5,
        rtol=1e-5,
    )


def dense_sequences(
    query: Tensor, key: Tensor, value: Tensor, call: PathCall, scale: float, window: int | None
) -> Tensor:
    """What flash attention computes over the sequences of a call, one by one, in any precision."""
    parts = []
    queries, keys = call.query_offsets.tolist(), call.key_offsets.tolist()
    for (a, b), (c, d) in zip(pairwise(queries), pairwise(keys), strict=True):
        ahead = torch.arange(b - a)[:, None] + (d - c) - (b - a) - torch.arange(d - c)
        mask = (ahead >= 0) & (ahead < (window or d - c))
        own = (heads.transpose(0, 1)[None] for heads in (query[a:b], key[c:d], value[c:d]))
        part = scaled_dot_product_attention(*own, attn_mask=mask, scale=scale, enable_gqa=True)
        parts.append(part[0].transpose(0, 1))
    assert max(b - a for a, b in pairwise(queries)) == call.longest_query
    assert max(d - c for c, d in pairwise(keys)) == call.longest_key
    return torch.cat(parts)


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("max_keys", [1, 60, 10_000])
def test_flash_calls_gather_the_paths_and_add_up_what_shared_keys_are_sent(
    max_keys: int, window: int | None, monkeypatch: pytest.MonkeyPatch
):
    """The kernel runs on GPUs alone; with dense attention in its place the plan, the gathering and the sums are it."""
    sizes: list[int] = []

    def forward(query: Tensor, key: Tensor, value: Tensor, call: PathCall, scale: float, window: int | None):
        sizes.append(len(key))
        nothing = torch.zeros(0)
        return dense_sequences(query, key, value, call, scale, window), flash.State(nothing, nothing, nothing)

    def backward(
        grad: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, state: flash.State, *call: Any
    ):
        with torch.enable_grad():
            inputs = q, k, v = [heads.detach().requires_grad_() for heads in (query, key, value)]
            again = dense_sequences(q, k, v, *call)
        torch.testing.assert_close(again, output)
        return torch.autograd.grad(again, inputs, grad)

    monkeypatch.setattr(flash, "forward", forward)
    monkeypatch.setattr(flash, "backward", backward)
    layout = lay_out(grow_rows(random.Random(1), prompts=2, width=5, response_length=15))
    heads = random_heads(layout, 0, torch.float32)
    expected = scaled_dot_product_attention(*heads, attn_mask=windowed_mask(layout, window), scale=0.3, enable_gqa=True)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    calls = plan_calls(whole_share(layout), "cpu", max_keys=max_keys)
    longest = max(layout.path_lengths)
    assert {1: len(layout.chains), 10_000: 1}.get(max_keys, len(calls)) == len(calls)
    assert calls[0].start == 0
    assert [call.stop for call in calls] == [*(call.start for call in calls[1:]), len(layout)]
    found = by_kernel(heads, FlashKernel(calls=calls, scale=0.3, window=window))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad((found * weight).sum(), heads), torch.autograd.grad((expected * weight).sum(), heads)
    )
    assert sum(sizes) == len(layout.paths)
    assert max(sizes) <= max(max_keys, longest)


def test_flash_attention_is_for_half_precision_on_gpus_alone():
    assert not flash.serves(torch.zeros(1, 2, 3, 8, dtype=torch.bfloat16))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (GemmaConfig(), "model type 'gemma'"),
        (Gemma3TextConfig(final_logit_softcapping=30.0), "final_logit_softcapping 30.0"),
        (Gemma3TextConfig(use_bidirectional_attention=True), "use_bidirectional_attention"),
        (Qwen3MoeConfig(output_router_logits=True), "a router's auxiliary loss"),
        (Qwen2Config(layer_types=["full_attention", "linear_attention"], num_hidden_layers=2), "layers of type linear"),
        (Qwen2Config(attention_dropout=0.1), "attention_dropout 0.1"),
        (
            LlamaConfig(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}),
            "rope_type 'dynamic'",
        ),
    ],
)
def test_a_model_that_cannot_be_packed_exactly_is_refused_by_name(config: PretrainedConfig, reason: str):
    with pytest.raises(ValueError, match=f"treepo.packing does not support {reason}") as refusal:
        check_model(config)
    assert "\n" not in str(refusal.value)


def test_models_that_can_be_packed_pass():
    yarn = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 32768}
    for config in (Qwen2Config(), LlamaConfig(), Qwen2Config(rope_parameters=yarn)):
        check_model(config)
    for kind in (*CONFIGS, *OTHER_CONFIGS):
        check_model(make_model(kind).config)


def test_a_forward_without_the_layout_or_with_more_than_it_is_refused():
    rows = Rows.of([[1]], [[2, 3]])
    layout = lay_out(rows)
    packed = PackedAttention(layout, "cpu")
    query, key, value = random_heads(layout, 0, torch.float32)
    module = torch.nn.Module()

    def call(mask: Tensor | None = None, **options: Any):
        packed_attention(module, query, key, value, mask, **{"scaling": 1.0, "packed": packed, **options})

    call()
    with pytest.raises(ValueError, match="needs the keywords of"):
        call(packed=None)
    with pytest.raises(ValueError, match="needs the keywords"):
        call(packed=PackedAttention(lay_out(Rows.of([[1]], [[2]])), "cpu"))
    options: dict[str, Any]
    for options in ({"dropout": 0.1}, {"output_attentions": True}):
        with pytest.raises(ValueError, match="no attention mask, dropout or attention weights"):
            call(**options)
    with pytest.raises(ValueError, match="no attention mask"):
        call(torch.ones(3, 3))


def test_a_model_called_as_if_nothing_were_packed_says_so():
    model = make_model("qwen2")
    model.set_attn_implementation(IMPLEMENTATION)
    with pytest.raises(ValueError, match="model_inputs"):
        model(input_ids=torch.tensor([[1, 2, 3]]))
    assert model(**model_inputs(lay_out(Rows.of([[1]], [[2, 3]])), "cpu")).logits.shape == (1, 3, 97)
