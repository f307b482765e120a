"""What packing costs and gives: `python -m benchmarks.packing exactness|ranks|engine|layout|shares|split|time`."""

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator

import torch

from benchmarks.packing_exactness import exactness, exactness_on_ranks
from benchmarks.packing_passes import grow_rows, make_model, pass_by_rows, pass_packed
from treepo.packing import Rows, Walk, imbalance, lay_out, read_out, share_tokens, split_tree, walk_trees


def ratio(rows: Rows) -> float:
    """Packed tokens over row tokens."""
    return len(lay_out(rows)) / len(rows.tokens)


def engine(rounds: int) -> Iterator[str]:
    """A Markdown table: the packed engine against verl's own, through several updates."""
    if not torch.cuda.is_available():
        # Before anything imports verl.
        os.environ |= {"VERL_PLATFORM": "cpu", "VERL_ENGINE_DEVICE": "cuda"}
        os.environ["VERL_USE_EXTERNAL_MODULES"] = "treepo.verl.cpu"
    from benchmarks.engine_passes import table, worst_errors

    yield from table(worst_errors(rounds))


def layout_cost(rounds: int) -> Iterator[str]:
    """A Markdown table: how long laying out takes per row token, the read-out included."""
    yield "| rows | row tokens | token ratio | lay out, ms | read out, ms | both, µs per row token |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    shapes = {
        "1 tree of 16 x 7,168, prompt 1,024": {"prompt_length": 1024, "width": 16, "response_length": 7168},
        "8 trees of 16 x 1,024, prompt 256": {"prompts": 8, "prompt_length": 256, "width": 16, "response_length": 1024},
        "32 trees of 8 x 64, prompt 64": {"prompts": 32, "prompt_length": 64, "width": 8, "response_length": 64},
    }
    for name, shape in shapes.items():
        rows = grow_rows(random.Random(0), fork=8 / shape["response_length"], **shape)
        layout = lay_out(rows)
        first = _median(lambda rows=rows: lay_out(rows), rounds)
        second = _median(lambda rows=rows, layout=layout: read_out(layout, rows), rounds)
        tokens = len(rows.tokens)
        cells = (f"{first * 1e3:.2f}", f"{second * 1e3:.2f}", f"{(first + second) / tokens * 1e6:.3f}")
        yield f"| {name} | {tokens} | {ratio(rows):.2f} | {' | '.join(cells)} |"


def share_balance(rounds: int) -> Iterator[str]:
    """A Markdown table: how evenly the ranks that share a tree attend, and how long sharing it out takes."""
    yield "| tree | packed tokens | ranks | busiest over mean | cut in order | most runs of a rank | share out, ms |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    shapes = {
        "1 row of 32,000": {"width": 1, "response_length": 30_000, "fork": 0.0},
        "16 x 4,000, forks": {"width": 16, "response_length": 2000, "fork": 0.002},
        "64 x 4,000, a group": {"width": 64, "response_length": 2000, "fork": 0.0},
        "64 x 16,000, forks": {"width": 64, "response_length": 14_000, "fork": 8 / 14_000},
    }
    for name, shape in shapes.items():
        layout = lay_out(grow_rows(random.Random(0), prompt_length=2000, **shape))
        for ranks in (2, 4, 8):
            sharing = share_tokens(layout, ranks=ranks)
            milliseconds = _median(lambda layout=layout, ranks=ranks: share_tokens(layout, ranks=ranks), rounds) * 1e3
            stretches = [int((part + 1).sum()) for part in layout.positions.tensor_split(ranks)]
            in_order = max(stretches) * ranks / sum(stretches)
            runs = max(len(share.runs) for share in sharing.shares)
            pairs = f"{imbalance([sharing]):.3f} | {in_order:.3f}"
            yield f"| {name} | {len(layout):,} | {ranks} | {pairs} | {runs} | {milliseconds:.0f} |"


def split_gap(rounds: int) -> Iterator[str]:
    """How far splitting is from the best of all ways, found by trying every set of rows, over small random trees."""
    rng = random.Random(0)
    gaps = []
    while len(gaps) < rounds:
        rows = grow_rows(rng, prompt_length=rng.choice([5, 20, 60]), width=rng.randint(3, 8), response_length=60)
        (tree,) = walk_trees(rows)
        limit = rng.randint(max(tree.lengths), max(tree.size, max(tree.lengths)))
        found = sum(part.size for part in split_tree(tree, max_tokens=limit))
        gaps.append((found - best_split(tree, limit)) / tree.size)
    best = sum(gap == 0 for gap in gaps) / rounds
    yield f"{rounds} trees of 3 to 8 rows: best of all in {best:.1%}, on average {statistics.mean(gaps):.2%} above it"
    yield f"in tokens of the tree, at most {max(gaps):.1%}"


def best_split(tree: Walk, max_tokens: int) -> int:
    """Fewest tokens of all parts, over every way to put the rows into parts that fit."""
    count = len(tree.order)
    sets = {
        chosen: tree.part([place for place in range(count) if chosen >> place & 1]).size
        for chosen in range(1, 1 << count)
    }
    best = [0] * (1 << count)
    for chosen in range(1, 1 << count):
        lowest = chosen & -chosen
        ways, part = [], chosen
        while part:
            if part & lowest and sets[part] <= max_tokens:
                ways.append(best[chosen ^ part] + sets[part])
            part = (part - 1) & chosen
        best[chosen] = min(ways)
    return best[-1]


def timing(rounds: int) -> Iterator[str]:
    """Forward and backward of one tree by chains and row by row; a check of the kernel, not the benchmark."""
    model = make_model("qwen2", hidden=256, layers=4, vocabulary=512)
    rows = grow_rows(random.Random(1), prompt_length=96, width=8, response_length=256, fork=0.02, vocabulary=512)
    seconds: dict[str, list[float]] = {"packed": [], "rows": []}
    for _ in range(rounds):
        for name, run in (("packed", pass_packed), ("rows", pass_by_rows)):
            start = time.perf_counter()
            run(model, rows)
            seconds[name].append(time.perf_counter() - start)
    packed, plain = (statistics.median(seconds[name]) for name in ("packed", "rows"))
    yield f"ratio {ratio(rows):.3f}: packed {packed:.3f} s, rows {plain:.3f} s, {packed / plain:.3f} of the time"


def _median(function: Callable[[], object], rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    """Prints what is asked for."""
    printed: dict[str, Callable[[int], Iterator[str]]] = {
        "exactness": exactness,
        "ranks": exactness_on_ranks,
        "engine": engine,
        "layout": layout_cost,
        "shares": share_balance,
        "split": split_gap,
        "time": timing,
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=tuple(printed))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for line in printed[args.what](args.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
