"""One JSON file per finished cell."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gradient.model.measure import ModelCell, ModelMeasure
from benchmarks.gradient.store import RESULTS as ALL
from treepo.files.whole import write_text_whole

RESULTS = ALL / "model"


def cell_path(folder: Path, key: str, shape: str, *, prompts: int, seed: int) -> Path:
    """Where a cell is stored.

    Args:
        folder: Of all cells.
        key: Names the policy and its weights.
        shape: Names the shape.
        prompts: How many.
        seed: Of the samples.
    """
    words = shape.replace(",", "").replace(" ", "_")
    return folder / f"{key}-{words}-prompts{prompts}-seed{seed}.json"


def save(path: Path, cell: ModelCell) -> None:
    """Writes a cell, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = {key: value for key, value in asdict(cell).items() if key != "measures"}
    measures = ",\n  ".join(json.dumps(_rounded(asdict(one))) for one in cell.measures)
    write_text_whole(path, f'{json.dumps(lines)[:-1]},\n "measures": [\n  {measures}\n ]}}\n')


def load(path: Path) -> ModelCell:
    """Reads a cell.

    Raises:
        ValueError: The file is not one.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        measures = [ModelMeasure(**_tuples(entry)) for entry in content.pop("measures")]
        return ModelCell(**_tuples(content), measures=measures)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is not a cell of this version: {error}; remove it to measure it again") from error


_PAIRS = ("along_over_grpo", "step", "over_grpo", "per_token", "per_second", "seconds")


def _tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if key in _PAIRS else value for key, value in content.items()}


def _rounded(content: dict[str, Any]) -> dict[str, Any]:
    """Six digits: more say nothing, and would make every line long."""

    def short(value: object) -> object:
        if isinstance(value, float):
            return float(f"{value:.6g}")
        return [short(one) for one in value] if isinstance(value, list | tuple) else value

    return {key: short(value) for key, value in content.items()}
