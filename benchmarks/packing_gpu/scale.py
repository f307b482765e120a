"""How large the checks of packing on a GPU are."""

from dataclasses import dataclass

import torch

from benchmarks.update.cell import Cell, Kind, of_ratio


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
