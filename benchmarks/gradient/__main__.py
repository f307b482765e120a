"""How much of a gradient every credit makes of the same samples, where the true gradient is known.

    python -m benchmarks.gradient

Every process (`benchmarks.gradient.process`) is sampled independently and as trees of several shapes; every credit is
given the same samples. Finished cells are stored and skipped, so that a run that was stopped continues where it was.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.gradient.arms import SHAPES
from benchmarks.gradient.measure import measure_cell
from benchmarks.gradient.process import PROCESSES
from benchmarks.gradient.store import RESULTS, load, path_of, save
from benchmarks.gradient.table import credits_table, in_order, same_trees_table, summary_table


def main(say: Callable[[str], None] = print) -> None:
    """Measures the cells that are missing and prints the tables of all that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=600, help="per cell")
    parser.add_argument("--seed", type=int, default=0, help="of trees and mistakes")
    parser.add_argument("--process", nargs="+", default=[one.name for one in PROCESSES], help="which processes")
    parser.add_argument("--shape", nargs="+", default=[one.name for one in SHAPES], help="besides `independent`")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of finished cells")
    parser.add_argument("--report", action="store_true", help="print the tables of finished cells alone")
    arguments = parser.parse_args()
    for option, names, known in (
        ("--process", arguments.process, [one.name for one in PROCESSES]),
        ("--shape", arguments.shape, [one.name for one in SHAPES]),
    ):
        if unknown := [name for name in names if name not in known]:
            parser.error(f"{option}: {unknown[0]!r} is not one of {', '.join(map(repr, known))}")
    torch.set_num_threads(1)
    chosen = ["independent", *(name for name in arguments.shape if name != "independent")]
    cells = []
    for process in (one for one in PROCESSES if one.name in arguments.process):
        own = []
        for shape in (one for one in SHAPES if one.name in chosen):
            path = path_of(arguments.results, process.name, shape.name, prompts=arguments.prompts, seed=arguments.seed)
            if not path.exists():
                if arguments.report:
                    continue
                save(
                    arguments.results,
                    measure_cell(process, shape, prompts=arguments.prompts, seed=arguments.seed),
                )
            own.append(load(path))
        if {"independent"} < {cell.shape for cell in own}:
            say(f"\n{process.name}\n\n{credits_table(in_order(own))}")
            cells += own
    if cells:
        say(f"\nSquared signal per token generated, relative to independent samples\n\n{summary_table(cells)}")
        for shape in chosen:
            say(f"\nSquared signal over GRPO's on the same trees, {shape}\n\n{same_trees_table(cells, shape)}")


if __name__ == "__main__":
    main()
