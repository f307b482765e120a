"""Seconds and memory of log-probs and updates: packed against the same rows unpadded."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, Qwen2Config
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from benchmarks.packing_gpu.scale import Scale
from benchmarks.packing_passes import forward_packed
from benchmarks.update.cell import grow
from benchmarks.update.shapes import SHAPES, Shape
from treepo.packing import Layout, Rows, lay_out, read_out, walk_rows
from treepo.packing.attention import IMPLEMENTATION


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
    config = Qwen2Config(**shape.options(layers), max_position_embeddings=32_768, dtype=scale.dtype)
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
