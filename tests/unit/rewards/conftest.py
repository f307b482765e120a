"""One judge for all tables: its processes take seconds to start."""

from collections.abc import Iterator

import pytest

from treepo.rewards.judge import Judge


@pytest.fixture(scope="session")
def judge() -> Iterator[Judge]:
    judge = Judge(timeout=20.0)
    yield judge
    judge.close()
