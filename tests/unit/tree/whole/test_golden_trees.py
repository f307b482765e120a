"""Whole trees, as written down in ``tests/golden/trees``: requests, picture, trajectories and statistics."""

import json

import pytest
from golden_trees import CASES, FOLDER, record, to_text


@pytest.mark.parametrize("case", CASES)
def test_a_tree_grows_as_written_down(case: str):
    written = (FOLDER / f"{case}.json").read_text(encoding="utf-8")
    recorded = record(case)
    assert recorded == json.loads(written)
    assert to_text(recorded) == written


def test_every_written_tree_is_checked():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(CASES)
