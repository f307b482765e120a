"""One JSON file per finished cell."""

import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.gradient.measure import Cell, Measure
from treepo.files.whole import write_text_whole

RESULTS = Path(__file__).resolve().parents[1] / "results" / "gradient"


def path_of(folder: Path, process: str, shape: str, *, prompts: int, seed: int) -> Path:
    """Where a cell is stored."""
    words = f"{process} {shape}".replace(",", "").replace(" ", "_")
    return folder / f"{words}-prompts{prompts}-seed{seed}.json"


def save(folder: Path, cell: Cell) -> None:
    """Writes a cell, whole or not at all."""
    path = path_of(folder, cell.process, cell.shape, prompts=cell.prompts, seed=cell.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_whole(path, json.dumps(asdict(cell), indent=1) + "\n")


def load(path: Path) -> Cell:
    """Reads a cell.

    Raises:
        ValueError: The file is not one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        measures = [Measure(**entry) for entry in content.pop("measures")]
        return Cell(**content, measures=measures)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is not a cell of this version: {error}; remove it to measure it again") from error
