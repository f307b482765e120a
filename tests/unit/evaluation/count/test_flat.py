"""A run's numbers under names that every logger takes."""

import re
from pathlib import Path

import pytest
from evaluation_run import graded, plan, tree_sample, write_run

from treepo.evaluation.count.flat import flat_metrics
from treepo.evaluation.count.summary import summarise


def test_every_number_has_a_name_that_loggers_take(tmp_path: Path) -> None:
    samples = [*graded("q0", "++--"), *graded("q1", "+-+-")]
    samples += [
        tree_sample(index, [(1, 2), (2 + index % 2, 2)], question, tree=index // 2)
        for question in ("q0", "q1")
        for index in range(4)
    ]
    run = write_run(tmp_path, plan(samples=4, seeds=2, samplings=("independent", "tree d=2")), samples)
    found = flat_metrics(summarise(run))
    assert all(re.fullmatch(r"evaluation/[\w/@]+", name) for name in found)
    assert all(isinstance(value, float) for value in found.values())
    assert found["evaluation/sums/independent/avg@4"] == pytest.approx(0.5)
    assert found["evaluation/sums/independent/avg@4/seed_deviation"] == pytest.approx(0.5 / 2**0.5)
    assert found["evaluation/sums/independent/pass@4"] == pytest.approx(1.0)
    assert found["evaluation/sums/tree_d2/pass_apart@2"] == pytest.approx(1.0)
    assert found["evaluation/overall/tree_d2/weighted/low"] == pytest.approx(1.0)
    assert found["evaluation/sums/independent/response_length/mean"] == pytest.approx(4.0)
