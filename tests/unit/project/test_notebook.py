"""The notebook runs from its first cell to its last, and shows what it says."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from training_run import ROOT

PATH = ROOT / "docs/notebooks/one_tree.ipynb"


def texts(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output["text"] for output in outputs if output.get("name") == "stdout")


def pictures(notebook: Any) -> list[int]:
    """The cells that show one."""
    return [
        place
        for place, cell in enumerate(notebook.cells)
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
    ]


@pytest.mark.nightly
def test_the_notebook_runs_and_packed_is_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Some 20 s of one core: half of it imports, a third the model's training.
    for name in ("JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    notebook = nbformat.read(PATH, as_version=4)
    stored = pictures(notebook)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": ROOT}}).execute()
    assert pictures(notebook) == stored
    said = texts(notebook)
    assert [float(number) < 1e-4 for number in re.findall(r"\d(?:\.\d+)?e-\d+", said)] == [True] * 3
    right = [int(number) for number in re.findall(r": (\d) of 8 right", said)]
    assert len(right) == 4
    assert 0 < sum(right) < 32, "without right and wrong ones there is no credit to look at"
    (ratio,) = re.findall(r"token ratio (0\.\d+)", said)
    assert float(ratio) < 0.7


def test_the_stored_notebook_has_its_pictures_and_is_small() -> None:
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    assert len(pictures(notebook)) == 3
    assert PATH.stat().st_size < 300_000
    kinds = {output["output_type"] for cell in notebook.cells for output in cell.get("outputs", [])}
    assert "error" not in kinds
