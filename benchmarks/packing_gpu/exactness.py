"""Packed attention and packed models against exact ones, with bounds."""

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel

from benchmarks.packing_gpu.scale import Scale
from benchmarks.packing_passes import (
    CONFIGS,
    differences,
    grow_rows,
    make_model,
    pass_by_rows,
    pass_packed,
)
from treepo.packing import Layout, Rows, lay_out
from treepo.packing.attention import PackedAttention, packed_attention

HEADS = ((28, 4, 128), (12, 2, 128), (14, 2, 64), (32, 8, 128), (4, 1, 256))
"""Query heads, key heads and head size: Qwen2.5-7B, 1.5B and 0.5B, Llama-3-8B, Gemma-3-1B."""

BOUNDS = {"kernels bfloat16": 1e-2, "kernels float32": 1e-5, "models float32": 5e-5, "models bfloat16": 2.0}
"""Largest relative errors; in bfloat16 a model's is relative to what rows in bfloat16 differ from float32 by."""


def dense_mask(layout: Layout, window: int | None, device: str) -> Tensor:
    """Which packed token attends to which."""
    at, ends, depth = torch.arange(len(layout), device=device), layout.ends.to(device), layout.positions.to(device)
    ancestors = (at <= at[:, None]) & (at[:, None] < ends)
    return ancestors if window is None else ancestors & (depth[:, None] - depth < window)


def kernels(scale: Scale, device: str) -> Iterator[dict[str, Any]]:
    """Attention over trees against dense attention in float64."""
    cases = [(heads, torch.bfloat16, window) for heads in HEADS for window in (None, 100)]
    cases += [((8, 2, 64), torch.float32, window) for window in (None, 100)]
    for (heads, key_heads, size), dtype, window in cases:
        rows = grow_rows(random.Random(size), prompts=2, prompt_length=33, response_length=scale.response, fork=0.02)
        layout = lay_out(rows)
        generator = torch.Generator(device).manual_seed(0)
        shapes = ((heads, size), (key_heads, size), (key_heads, size))
        inputs = query, key, value = [
            torch.randn(1, len(layout), *shape, generator=generator, device=device, dtype=dtype, requires_grad=True)
            for shape in shapes
        ]
        found, _ = packed_attention(
            torch.nn.Module(),
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            None,
            packed=PackedAttention(layout, device),
            scaling=size**-0.5,
            sliding_window=window,
        )
        upstream = torch.randn(found.shape, generator=generator, device=device, dtype=dtype)
        grads = torch.autograd.grad(found, inputs, upstream)
        wide = [tensor.detach().double().requires_grad_() for tensor in inputs]
        with sdpa_kernel(SDPBackend.MATH):
            exact = scaled_dot_product_attention(
                *(heads.transpose(1, 2) for heads in wide),
                attn_mask=dense_mask(layout, window, device),
                scale=size**-0.5,
                enable_gqa=True,
            ).transpose(1, 2)
        exact_grads = torch.autograd.grad(exact, wide, upstream.double())
        errors = {
            name: ((one.double() - other).abs().max() / other.abs().max()).item()
            for name, one, other in zip(
                ("output", "d query", "d key", "d value"), (found, *grads), (exact, *exact_grads), strict=True
            )
        }
        bound = BOUNDS[f"kernels {str(dtype).removeprefix('torch.')}"]
        name = f"{heads}/{key_heads} x {size} {str(dtype).removeprefix('torch.')} window {window}"
        yield {"case": name, **errors, "fine": max(errors.values()) <= bound}


def models(scale: Scale, device: str) -> Iterator[dict[str, Any]]:
    """Tiny models, packed against row by row."""
    for kind in CONFIGS:
        for checkpointing in (False, True):
            model = make_model(kind, hidden=256, layers=3).to(device)  # pyright: ignore[reportArgumentType]
            if checkpointing:
                model.gradient_checkpointing_enable({"use_reentrant": False})
            yield from _compare(f"{kind}{', checkpointing' if checkpointing else ''}", model, scale)


def fsdp2(scale: Scale, device: str) -> Iterator[dict[str, Any]]:
    """Sharded with verl's mixed precision."""
    from torch import distributed
    from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    backend = "nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    model = make_model("qwen2", hidden=256, layers=3).to(device)  # pyright: ignore[reportArgumentType]
    model.gradient_checkpointing_enable({"use_reentrant": False})
    rows = grow_rows(random.Random(1), prompts=3, response_length=scale.response)
    exact = pass_by_rows(model, rows)
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=True)
    for layer in model.model.layers:
        fully_shard(layer, mp_policy=policy)
    fully_shard(model, mp_policy=policy)
    yield _within_noise("qwen2 bfloat16, fully_shard", model, rows, exact)
    distributed.destroy_process_group()


def _compare(name: str, model: PreTrainedModel, scale: Scale) -> Iterator[dict[str, Any]]:
    rows = grow_rows(random.Random(1), prompts=3, response_length=scale.response)
    exact = pass_by_rows(model, rows)
    errors = differences(pass_packed(model, rows, max_tokens=4 * int(rows.lengths.max())), exact)
    yield {"case": f"{name} float32", **errors, "fine": max(errors.values()) <= BOUNDS["models float32"]}
    yield _within_noise(f"{name} bfloat16", model, rows, exact)


def _within_noise(name: str, model: PreTrainedModel, rows: Rows, exact: Any) -> dict[str, Any]:
    noise = differences(pass_by_rows(model, rows, autocast=True), exact)
    errors = differences(pass_packed(model, rows, autocast=True), exact)
    read = ("log-probs", "entropies", "gradients")
    fine = all(errors[number] <= BOUNDS["models bfloat16"] * noise[number] for number in read)
    return {"case": name, **errors, **{f"rows' {number}": noise[number] for number in read}, "fine": fine}
