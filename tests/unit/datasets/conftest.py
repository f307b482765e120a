"""A workshop for every test."""

from pathlib import Path

import pytest
from dataset_workshop import Workshop, open_workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Sources of all sets, and an empty data folder."""
    return open_workshop(tmp_path)
