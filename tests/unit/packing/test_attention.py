"""Attention by chains and by blocks against a dense mask."""

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention
from transformers import GemmaConfig, LlamaConfig, PretrainedConfig, Qwen2Config

from benchmarks.packing_passes import grow_rows, make_model
from treepo.packing import Layout, Rows, lay_out
from treepo.packing.attention import IMPLEMENTATION, PackedAttention, check_model, model_inputs, packed_attention
from treepo.packing.blocks import BLOCK, block_mask
from treepo.packing.chains import chain_attention


def dense_mask(layout: Layout) -> Tensor:
    at = torch.arange(len(layout))
    return (at[None] <= at[:, None]) & (at[:, None] < layout.ends[None])


def random_heads(layout: Layout, seed: int, dtype: torch.dtype) -> list[Tensor]:
    """Query of four heads, key and value of two, with the memory layout that models have."""
    generator = torch.Generator().manual_seed(seed)
    heads = [torch.randn(1, len(layout), n, 8, generator=generator, dtype=torch.float64) for n in (4, 2, 2)]
    return [head.to(dtype).transpose(1, 2).requires_grad_() for head in heads]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), width=st.integers(1, 9), length=st.integers(1, 30), fork=st.floats(0, 0.5))
def test_chains_give_the_output_and_gradients_of_a_dense_mask(seed: int, width: int, length: int, fork: float):
    rng = random.Random(seed)
    rows = grow_rows(rng, prompts=2, prompt_length=rng.randint(1, 9), width=width, response_length=length, fork=fork)
    layout = lay_out(rows)
    heads = random_heads(layout, seed, torch.float64)
    expected = scaled_dot_product_attention(*heads, attn_mask=dense_mask(layout), scale=0.3, enable_gqa=True)
    found = chain_attention(*heads, layout=layout, scale=0.3)
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
    found = chain_attention(*heads, layout=layout, scale=0.3)
    assert found.dtype == torch.bfloat16
    assert (found - exact).norm() < 1.5 * (dense - exact).norm()


@pytest.mark.parametrize("seed", range(4))
def test_the_block_mask_holds_the_pairs_of_the_dense_one_and_no_block_more(seed: int):
    rows = grow_rows(random.Random(seed), prompts=2, prompt_length=150, width=6, response_length=200, fork=0.03)
    layout = lay_out(rows, multiple_of=BLOCK)
    mask = block_mask(layout.ends)
    dense = dense_mask(layout).view(len(layout) // BLOCK, BLOCK, -1, BLOCK).transpose(1, 2).flatten(2)
    assert torch.equal(mask.to_dense()[0, 0].bool(), dense.any(-1))
    blocks = len(dense)
    full = torch.zeros(blocks, blocks, dtype=torch.bool)
    assert mask.full_kv_num_blocks is not None
    assert mask.full_kv_indices is not None
    for row, (count, which) in enumerate(zip(mask.full_kv_num_blocks[0, 0], mask.full_kv_indices[0, 0], strict=True)):
        full[row, which[:count].long()] = True
    assert torch.equal(full, dense.all(-1))
    assert not full.all()
    assert full.any()


def test_flex_attention_with_the_block_mask_gives_the_output_of_a_dense_mask():
    rows = grow_rows(random.Random(0), prompts=2, prompt_length=100, width=4, response_length=150, fork=0.03)
    layout = lay_out(rows, multiple_of=BLOCK)
    query, key, value = heads = [head.detach() for head in random_heads(layout, 0, torch.float32)]
    found = flex_attention(query, key, value, block_mask=block_mask(layout.ends), scale=0.3, enable_gqa=True)
    expected = scaled_dot_product_attention(*heads, attn_mask=dense_mask(layout), scale=0.3, enable_gqa=True)
    assert isinstance(found, Tensor)
    torch.testing.assert_close(found, expected)


def test_a_length_that_is_no_multiple_of_a_block_is_refused():
    with pytest.raises(ValueError, match="multiple of 128"):
        block_mask(torch.ones(100, dtype=torch.int64))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (GemmaConfig(), "model type 'gemma'"),
        (Qwen2Config(use_sliding_window=True, sliding_window=16, max_window_layers=1), "sliding-window attention"),
        (Qwen2Config(layer_types=["full_attention", "sliding_attention"], num_hidden_layers=2), "sliding-window"),
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
    for config in (Qwen2Config(), LlamaConfig(), Qwen2Config(rope_parameters=yarn), make_model("qwen3").config):
        check_model(config)


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
    for options in ({"dropout": 0.1}, {"sliding_window": 4}, {"output_attentions": True}):
        with pytest.raises(ValueError, match="no attention mask, dropout, sliding window"):
            call(**options)
    with pytest.raises(ValueError, match="no attention mask"):
        call(torch.ones(3, 3))


def test_a_model_called_as_if_nothing_were_packed_says_so():
    model = make_model("qwen2")
    model.set_attn_implementation(IMPLEMENTATION)
    with pytest.raises(ValueError, match="model_inputs"):
        model(input_ids=torch.tensor([[1, 2, 3]]))
    assert model(**model_inputs(lay_out(Rows.of([[1]], [[2, 3]])), "cpu")).logits.shape == (1, 3, 97)
