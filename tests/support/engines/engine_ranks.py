"""One of several processes that train together, with verl's engine and with the packed one: run as a script.

``engine_ranks.py MODEL FOLDER RANK RANKS``: the rank's outcomes go to ``FOLDER/RANK.pt``.
"""

import random
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from benchmarks.engine_passes import EngineOutcome, run_engine
from benchmarks.engines import build_engine, make_batch, policy_loss, process_group
from benchmarks.packing_passes import grow_rows
from treepo.packing import Rows

LIMIT = 220
"""Tokens of a micro-batch."""


def rows_of_rank(rank: int) -> Rows:
    """Eight rows everywhere, long ones of two trees on the first rank, short ones of eight prompts on the others."""
    if rank == 0:
        return grow_rows(random.Random(0), prompts=2, width=4, response_length=60)
    return grow_rows(random.Random(rank), prompts=8, width=1, response_length=8)


def outcomes(folder: Path, rank: int, ranks: int) -> dict[str, EngineOutcome]:
    """Two steps with either engine."""
    batch: dict[str, Any] = {"seed": rank, "max_tokens": LIMIT, "global_rows": 8 * ranks}
    found = {}
    for name, packed in (("stock", False), ("packed", True)):
        batches = [make_batch(rows_of_rank(rank), **batch)]
        found[name] = run_engine(build_engine(folder, packed=packed), batches, policy_loss(), steps=2)
    return found


def refusal(folder: Path, rank: int) -> str:
    """What every rank says when the rows of the first alone are too long."""
    engine = build_engine(folder, packed=True)
    limit = int(rows_of_rank(1).lengths.max())
    with engine.train_mode():
        try:
            engine.train_batch(make_batch(rows_of_rank(rank), max_tokens=limit), policy_loss())
        except ValueError as error:
            return str(error)
    return ""


def main(model: str, folder: str, rank: int, ranks: int) -> None:
    """Runs one rank."""
    torch.set_num_threads(1)
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)
    store = torch.distributed.FileStore(str(Path(folder) / "store"), ranks)  # pyright: ignore[reportPrivateImportUsage]
    with process_group(rank, ranks, store):
        found = {**outcomes(Path(model), rank, ranks), "refusal": refusal(Path(model), rank)}
    torch.save(found, Path(folder) / f"{rank}.pt")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
