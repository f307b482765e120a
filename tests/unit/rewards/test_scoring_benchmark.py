"""The scoring benchmark judges what it says it judges."""

import pytest

from benchmarks import scoring


@pytest.mark.parametrize("load", scoring.loads(2, 0))
def test_every_load_is_judged_to_its_end(load: str) -> None:
    pairs = scoring.loads(2, 0)[load][:40]
    speed = scoring.measure(load, pairs, workers=1)
    assert (speed.answers, speed.unfinished) == (40, 0)
    assert speed.seconds > 0
    if load == "whole numbers":
        assert speed.fast == 1.0
    if load == "expressions, each different":
        assert speed.fast == 0.0
