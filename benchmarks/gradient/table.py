"""Markdown tables of finished cells."""

import math
from collections.abc import Sequence

from benchmarks.gradient.arms import ARMS, SHAPES
from benchmarks.gradient.measure import REFERENCE_ARM, Cell, find, worth

REFERENCE = ("independent", REFERENCE_ARM)
"""What squared signals per token are relative to: shape and credit."""


def credits_table(cells: Sequence[Cell]) -> str:
    """Every credit on every shape of one process."""
    lines = [
        "| shape | credit | signal | signal² per token | over GRPO, same trees | alignment | quarter 1 | 2 | 3 | 4 |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    reference = next(cell for cell in cells if cell.shape == REFERENCE[0])
    base = find(reference.measures, REFERENCE[1])
    for cell in cells:
        for one in cell.measures:
            ratio, half = worth(one, cell.generated, base, reference.generated)
            aligned = "-" if one.alignment is None else f"{one.alignment:.2f}"
            parts = " | ".join(f"{part:+.2f}" for part in one.by_part)
            lines.append(
                f"| {cell.shape}, {cell.generated:.0f} tokens | `{one.arm}` | {one.signal:.2f} ± "
                f"{1.96 * one.signal_error:.2f} | {ratio:.2f} ± {half:.2f} | {one.over_grpo:.2f} ± "
                f"{1.96 * one.over_grpo_error:.2f} | {aligned} | {parts} |"
            )
    return "\n".join(lines)


def summary_table(cells: Sequence[Cell]) -> str:
    """Squared signal per token of every credit, by process, each on the shape where it is best."""
    processes = list(dict.fromkeys(cell.process for cell in cells))
    lines = [
        f"| credit | {' | '.join(processes)} |",
        f"| --- |{' ---: |' * len(processes)}",
        f"| `grpo`, independent | {' | '.join('1.00' for _ in processes)} |",
    ]
    for arm in ARMS:
        entries = []
        for process in processes:
            own = [cell for cell in cells if cell.process == process]
            reference = next(cell for cell in own if cell.shape == REFERENCE[0])
            base = find(reference.measures, REFERENCE[1])
            found = [
                (*worth(find(cell.measures, arm.name), cell.generated, base, reference.generated), cell.shape)
                for cell in own
                if cell.shape != REFERENCE[0]
            ]
            ratio, half, shape = max(found, key=lambda entry: (not math.isnan(entry[0]), entry[0]))
            entries.append(f"{ratio:.2f} ± {half:.2f} ({shape})")
        lines.append(f"| `{arm.name}` | {' | '.join(entries)} |")
    return "\n".join(lines)


def same_trees_table(cells: Sequence[Cell], shape: str) -> str:
    """Squared signal of every credit over GRPO's on the same trees of one shape, by process."""
    own = [cell for cell in cells if cell.shape == shape]
    lines = [f"| credit | {' | '.join(cell.process for cell in own)} |", f"| --- |{' ---: |' * len(own)}"]
    for arm in ARMS:
        found = [find(cell.measures, arm.name) for cell in own]
        entries = " | ".join(f"{one.over_grpo:.2f} ± {1.96 * one.over_grpo_error:.2f}" for one in found)
        lines.append(f"| `{arm.name}` | {entries} |")
    return "\n".join(lines)


def in_order(cells: Sequence[Cell]) -> list[Cell]:
    """Cells in the order of the shapes."""
    names = [shape.name for shape in SHAPES]
    return sorted(cells, key=lambda cell: names.index(cell.shape))
