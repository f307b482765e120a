"""The update's benchmark runs on both engines: what it counts is what was laid out, and both compute the same."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from training_run import ROOT

from benchmarks.update.cell import Arm, Part
from benchmarks.update.profiles import PROFILES


@pytest.mark.nightly
def test_the_smallest_profile_measures_both_engines(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.update", "--profile", "smallest", "--repeats", "1"]
    run = subprocess.run(
        [*command, "--output", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    lines = [json.loads(line) for line in (tmp_path / "cells.jsonl").read_text().splitlines()]
    cells = [cell for section in PROFILES["smallest"].sections.values() for cell in section]
    assert len(lines) == len(cells)
    for line, cell in zip(lines, cells, strict=True):
        assert line["row_tokens"] == cell.row_tokens
        assert line["packed_tokens"] / line["row_tokens"] == pytest.approx(cell.ratio, abs=0.02)
        assert line["apart"] < 1e-4
        for part in Part:
            stock, packed = (line["found"][part][arm] for arm in Arm)
            assert stock["tokens"] == cell.row_tokens
            if cell.max_tokens is None:
                assert packed["tokens"] == line["packed_tokens"]
                assert stock["micro_batches"] == packed["micro_batches"] == 1
            else:
                assert packed["tokens"] >= line["packed_tokens"]
                assert 1 < packed["micro_batches"] < stock["micro_batches"]
            assert len(stock["seconds"]) == len(packed["seconds"]) == 1
            assert min(stock["peak"], packed["peak"]) > 0
    written = (tmp_path / "update.md").read_text()
    assert all(cell.title in written for cell in cells)
    assert (tmp_path / "update.png").stat().st_size > 10_000
