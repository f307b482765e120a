"""How exact packed passes of small models are, on one rank or on several that share each packed sequence."""

import multiprocessing
import random
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.packing_passes import (
    CONFIGS,
    OTHER_CONFIGS,
    differences,
    grow_rows,
    make_model,
    pass_by_rows,
    pass_packed,
)
from treepo.packing import lay_out

_SECONDS = 3600.0
NOISE = "noise: rows in bfloat16 against float32"
# Label, autocast, tokens of a micro-batch, gradient checkpointing.
NUMBERS = (
    ("float32", False, None, False),
    ("float32, gradient checkpointing", False, None, True),
    ("float32, split at 150 tokens", False, 150, False),
    ("bfloat16 autocast", True, None, False),
    (NOISE, True, None, False),
)


def exactness(rounds: int, *, group: dist.ProcessGroup | None = None) -> Iterator[str]:
    """A Markdown table: the worst relative error over several random trees.

    Args:
        rounds: Trees.
        group: Ranks that share each packed sequence. They all have the same results, so that the first alone compares
            them; what the others give says nothing.
    """
    compares = group is None or group.rank() == 0
    yield "| model | numbers | token ratio | log-probs | entropies | loss | gradients |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for kind in (*CONFIGS, *OTHER_CONFIGS):
        model = make_model(kind)
        for label, autocast, limit, checkpointing in NUMBERS:
            noise = label == NOISE
            model.gradient_checkpointing_enable() if checkpointing else model.gradient_checkpointing_disable()
            worst: dict[str, float] = {}
            ratios = []
            for seed in range(rounds):
                rows = grow_rows(random.Random(seed), prompts=2)
                ratios.append(len(lay_out(rows)) / len(rows.tokens))
                packed = None
                if not noise:
                    packed = pass_packed(model, rows, seed=seed, autocast=autocast, max_tokens=limit, group=group)
                if compares:
                    reference = pass_by_rows(model, rows, seed=seed, autocast=autocast and not noise)
                    found = differences(packed or pass_by_rows(model, rows, seed=seed, autocast=True), reference)
                    worst = {name: max(error, worst.get(name, 0.0)) for name, error in found.items()}
            numbers = " | ".join(f"{error:.1e}" for error in worst.values())
            yield f"| {kind} | {label} | {statistics.mean(ratios):.2f} | {numbers} |"


def exactness_on_ranks(rounds: int, *, ranks: int = 2) -> Iterator[str]:
    """The same table, of several processes."""
    with TemporaryDirectory() as folder:
        lines, *_ = on_ranks(ranks, Path(folder), partial(_lines, rounds))
    yield from lines


def _lines(rounds: int, group: dist.ProcessGroup) -> list[str]:
    return list(exactness(rounds, group=group))


def on_ranks(ranks: int, folder: Path, work: Callable[[dist.ProcessGroup], Any]) -> list[Any]:
    """What a function gives on each of several processes, which are joined by gloo.

    Args:
        ranks: How many there are.
        folder: Empty; they meet in it.
        work: Called with the group of all ranks; it must be one that can be pickled.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch._dynamo", "transformers", "tensordict", "ray"])
    with ProcessPoolExecutor(ranks, mp_context=context) as pool:
        futures = [pool.submit(_run, rank, ranks, folder, work) for rank in range(ranks)]
        return [future.result(timeout=_SECONDS) for future in futures]


def _run(rank: int, ranks: int, folder: Path, work: Callable[[Any], Any]) -> Any:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    try:
        return work(dist.group.WORLD)
    finally:
        dist.destroy_process_group()
