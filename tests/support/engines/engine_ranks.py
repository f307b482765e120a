"""One of several processes that train together, with verl's engine and with the packed one: run as a script.

``engine_ranks.py MODEL FOLDER RANK RANKS``: the rank's outcomes go to ``FOLDER/RANK.pt``. Two ranks train with shares
of the rows, and with shares of every micro-batch; four do both at once.
"""

import random
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from benchmarks.engine_passes import CASES, EngineOutcome, infer, run_case, run_engine
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


SEQUENCE_CASES = ("float32", "float32, entropy and KL", "float32, gradient checkpointing")
"""Those of `benchmarks.engine_passes` that the two ranks run that share every micro-batch."""

SEQUENCE_ROWS = grow_rows(random.Random(1), prompts=3, width=4)


def shared_sequences(folder: Path) -> dict[str, EngineOutcome]:
    """All ranks share every micro-batch of the same rows."""
    ranks = torch.distributed.get_world_size()
    return {
        label: run_case(folder, SEQUENCE_ROWS, CASES[label], packed=True, seed=1, steps=2, sequence_ranks=ranks)
        for label in SEQUENCE_CASES
    }


def adapters(folder: Path, *, packed: bool, sequence_ranks: int) -> EngineOutcome:
    """Three steps of adapters alone."""
    torch.manual_seed(0)
    engine = build_engine(folder, packed=packed, sequence_ranks=sequence_ranks, lora_rank=4)
    return run_engine(engine, [make_batch(SEQUENCE_ROWS, max_tokens=LIMIT)], policy_loss(), steps=3)


def reference_log_probs(folder: Path, sequence_ranks: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a model without an optimizer, at another temperature."""
    engine = build_engine(folder, packed=True, forward_only=True, sequence_ranks=sequence_ranks)
    return infer(engine, make_batch(SEQUENCE_ROWS, max_tokens=LIMIT, temperature=0.7))


def shared_rows_and_sequences(folder: Path, rank: int, ranks: int) -> EngineOutcome:
    """Pairs of ranks share the micro-batches of the rows that one of half as many ranks would have by itself."""
    data_rank = rank // 2
    batches = [make_batch(rows_of_rank(data_rank), seed=data_rank, max_tokens=LIMIT // 2, global_rows=8 * (ranks // 2))]
    return run_engine(build_engine(folder, packed=True, sequence_ranks=2), batches, policy_loss(), steps=2)


def main(model: str, folder: str, rank: int, ranks: int) -> None:
    """Runs one rank."""
    torch.set_num_threads(1)
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)
    store = torch.distributed.FileStore(str(Path(folder) / "store"), ranks)  # pyright: ignore[reportPrivateImportUsage]
    with process_group(rank, ranks, store):
        path = Path(model)
        if ranks == 2:
            found: dict[str, Any] = {**outcomes(path, rank, ranks), "refusal": refusal(path, rank)}
            found |= {"sequence": shared_sequences(path), "reference": reference_log_probs(path, ranks)}
            found["adapters"] = adapters(path, packed=True, sequence_ranks=ranks)
        else:
            found = {"packed": shared_rows_and_sequences(path, rank, ranks)}
    torch.save(found, Path(folder) / f"{rank}.pt")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
