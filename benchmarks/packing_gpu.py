"""Packing on one GPU with torch and transformers alone: `python -m benchmarks.packing_gpu --output DIR`.

Exactness first, with bounds that fail the run, then speed and memory:

kernels  attention over trees against dense attention in float64, forward and gradients
models   tiny Qwen2, Qwen3 and Llama, packed against row by row, with and without gradient checkpointing
fsdp2    the same under ``fully_shard`` with verl's mixed precision, one rank
speed    log-probs and updates at the layer shapes of Qwen2.5-1.5B and 7B: packed against unpadded rows

The baseline of `speed` is the strongest one: the same rows without padding in one sequence, flash attention over their
unequal lengths, and the same chunked read-out. Only sharing is left out.
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel, Qwen2Config
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from benchmarks.packing_passes import (
    CONFIGS,
    differences,
    forward_packed,
    grow_rows,
    make_model,
    pass_by_rows,
    pass_packed,
)
from benchmarks.update.cell import Cell, Kind, grow, of_ratio
from benchmarks.update.shapes import SHAPES, Shape
from treepo.packing import Layout, Rows, lay_out, read_out, walk_rows
from treepo.packing.attention import IMPLEMENTATION, PackedAttention, packed_attention

HEADS = ((28, 4, 128), (12, 2, 128), (14, 2, 64), (32, 8, 128), (4, 1, 256))
"""Query heads, key heads and head size: Qwen2.5-7B, 1.5B and 0.5B, Llama-3-8B, Gemma-3-1B."""

BOUNDS = {"kernels bfloat16": 1e-2, "kernels float32": 1e-5, "models float32": 5e-5, "models bfloat16": 2.0}
"""Largest relative errors; in bfloat16 a model's is relative to what rows in bfloat16 differ from float32 by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large everything is.

    Attributes:
        response: Tokens of a response in the exactness checks.
        shapes: Model shapes of `speed`, with the layers that are built of each.
        cells: What they are measured on.
        repeats: Timed runs of each cell.
        dtype: Precision of `speed`.
    """

    response: int
    shapes: tuple[tuple[str, int], ...]
    cells: tuple[Cell, ...]
    repeats: int
    dtype: torch.dtype


FULL = Scale(
    response=400,
    shapes=(("qwen2_5_1_5b", 28), ("qwen2_5_7b", 28)),
    cells=(
        *(of_ratio(Kind.TREE, ratio, width=8, row_length=4096) for ratio in (0.3, 0.5, 0.8)),
        of_ratio(Kind.TREE, 0.5, width=4, row_length=16384),
        of_ratio(Kind.GROUP, 0.8, width=8, row_length=4096),
    ),
    repeats=3,
    dtype=torch.bfloat16,
)
SMALL = Scale(
    response=20,
    shapes=(("smallest", 2),),
    cells=tuple(of_ratio(Kind.TREE, ratio, width=4, row_length=48) for ratio in (0.5, 1.0)),
    repeats=1,
    dtype=torch.float32,
)


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
        inputs = [
            torch.randn(1, len(layout), *shape, generator=generator, device=device, dtype=dtype, requires_grad=True)
            for shape in shapes
        ]
        found, _ = packed_attention(
            torch.nn.Module(),
            *(heads.transpose(1, 2) for heads in inputs),
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
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    backend = "nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)
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


def speed(scale: Scale, device: str) -> Iterator[dict[str, Any]]:
    """Seconds and peak memory, packed against unpadded rows."""
    for name, layers in scale.shapes:
        model = _model(SHAPES[name], layers, scale, device)
        for cell in scale.cells:
            rows = grow(cell, seed=0, vocabulary=min(30_000, SHAPES[name].vocabulary))
            walk = walk_rows(rows)
            layouts = {
                "rows": lay_out(rows, walk=replace(walk, shared=(0,) * len(walk.shared))),
                "packed": lay_out(rows, walk=walk),
            }
            yield {"case": f"{name}, {layers} layers: {cell.title}", **_measure(model, rows, layouts, scale, device)}
        del model


def _model(shape: Shape, layers: int, scale: Scale, device: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        max_position_embeddings=32_768,
        tie_word_embeddings=shape.tied,
        dtype=scale.dtype,
    )
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=scale.dtype).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.set_attn_implementation(IMPLEMENTATION)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return model


def _measure(
    model: PreTrainedModel, rows: Rows, layouts: dict[str, Layout], scale: Scale, device: str
) -> dict[str, Any]:
    weights = torch.randn(len(rows.tokens), generator=torch.Generator().manual_seed(0)).to(device) / len(rows.tokens)
    packed, by_rows = layouts["packed"], layouts["rows"]
    ratio = len(packed) / len(rows.tokens)
    found: dict[str, Any] = {
        "row tokens": len(rows.tokens),
        "ratio": ratio,
        "attention ratio": _pairs(packed) / _pairs(by_rows),
        "read-out ratio": len(read_out(packed, rows).positions) / len(read_out(by_rows, rows).positions),
    }
    log_probs: dict[str, Tensor] = {}

    def infer(layout: Layout, name: str) -> None:
        with torch.no_grad():
            log_probs[name] = forward_packed(model, rows, layout=layout)[0]

    def update(layout: Layout) -> None:
        (forward_packed(model, rows, layout=layout)[0] * weights).sum().backward()

    parts: dict[str, dict[str, Callable[[], None]]] = {
        "log-probs": {name: partial(infer, layout, name) for name, layout in layouts.items()},
        "update": {name: partial(update, layout) for name, layout in layouts.items()},
    }
    for part, arms in parts.items():
        seconds, peaks = _time(arms, scale, device)
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        found |= {f"{part} {name} s": medians[name] for name in arms}
        found |= {f"{part} {name} range": [min(seconds[name]), max(seconds[name])] for name in arms}
        found |= {f"{part} {name} GiB": peaks[name] / 2**30 for name in arms}
        found |= {
            f"{part} speed-up": medians["rows"] / medians["packed"],
            f"{part} of 1/ratio": medians["rows"] / medians["packed"] * ratio,
            f"{part} memory": peaks["packed"] / peaks["rows"] if peaks["rows"] else None,
        }
    apart = (log_probs["packed"] - log_probs["rows"]).abs()
    found |= {"log-probs apart": apart.max().item(), "log-probs apart, mean": apart.mean().item()}
    return found


def _time(
    arms: dict[str, Callable[[], None]], scale: Scale, device: str
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of each run, the arms in turn, and the most bytes held above what was held before."""
    cuda = device == "cuda"
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    peaks = dict.fromkeys(arms, 0)
    for repeat in range(scale.repeats + 1):
        for name, run in arms.items():
            held = 0
            if cuda:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                held = torch.cuda.memory_allocated()
            start = time.perf_counter()
            run()
            if cuda:
                torch.cuda.synchronize()
                peaks[name] = max(peaks[name], torch.cuda.max_memory_allocated() - held)
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return seconds, peaks


def _pairs(layout: Layout) -> int:
    """Pairs of tokens that attend: what attention has to compute."""
    return int((layout.positions + 1).sum())


SECTIONS: dict[str, Callable[[Scale, str], Iterator[dict[str, Any]]]] = {
    "kernels": kernels,
    "models": models,
    "fsdp2": fsdp2,
    "speed": speed,
}


def main() -> int:
    """Runs the sections, prints a line per case, writes them as JSON, and fails where a bound is exceeded."""
    parser = argparse.ArgumentParser(description="packing on one GPU, with torch and transformers alone")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes for a CPU, to see that everything runs")
    parser.add_argument("--output", type=Path, default=Path("outputs/packing_gpu"))
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--shape", choices=SHAPES, help="`speed` on this shape alone")
    parser.add_argument("--layers", type=int, help="layers of it; default 28")
    parser.add_argument("--ratios", type=float, nargs="+", help="`speed` on trees of these token ratios alone")
    parser.add_argument("--row-length", type=int, default=4096, help="tokens of their rows; default 4096")
    parser.add_argument("--width", type=int, default=8, help="their rows; default 8")
    parser.add_argument("--repeats", type=int, help="timed runs of each cell; default 3")
    options = parser.parse_args()
    scale = SMALL if options.small else FULL
    if options.shape:
        scale = replace(scale, shapes=((options.shape, options.layers or 28),))
    if options.ratios:
        length, width = options.row_length, options.width
        cells = tuple(of_ratio(Kind.TREE, ratio, width=width, row_length=length) for ratio in options.ratios)
        scale = replace(scale, cells=cells)
    scale = replace(scale, repeats=options.repeats or scale.repeats)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --device cpu --small runs the same on the CPU")
    options.output.mkdir(parents=True, exist_ok=True)
    name = torch.cuda.get_device_name(0) if options.device == "cuda" else "cpu"
    found: dict[str, Any] = {"device": name, "torch": torch.__version__}
    begin = time.perf_counter()
    fine = True
    for section in options.sections:
        found[section] = []
        for case in SECTIONS[section](scale, options.device):
            found[section].append(case)
            fine &= case.get("fine", True)
            print(f"[{time.perf_counter() - begin:6.1f} s] {section}: {json.dumps(_short(case))}", flush=True)
            (options.output / "packing_gpu.json").write_text(json.dumps(found, indent=1))
    return 0 if fine else 1


def _short(case: dict[str, Any]) -> dict[str, Any]:
    return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in case.items()}


if __name__ == "__main__":
    sys.exit(main())
