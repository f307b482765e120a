"""Evaluation on benchmarks: what a run keeps, its metrics, its reports, and the comparison of runs."""

from treepo.evaluation.keep.records import (
    INDEPENDENT,
    BenchmarkPlan,
    Call,
    RunPlan,
    Sample,
    repeats_itself,
    tree_label,
)
from treepo.evaluation.keep.store import RunWriter, StoredRun

__all__ = [
    "INDEPENDENT",
    "BenchmarkPlan",
    "Call",
    "RunPlan",
    "RunWriter",
    "Sample",
    "StoredRun",
    "repeats_itself",
    "tree_label",
]
