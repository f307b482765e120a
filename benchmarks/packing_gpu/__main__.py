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
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.packing_gpu.exactness import fsdp2, kernels, models
from benchmarks.packing_gpu.scale import FULL, SMALL, Scale
from benchmarks.packing_gpu.speed import speed
from benchmarks.update.cell import Kind, of_ratio
from benchmarks.update.shapes import SHAPES

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
