"""``treepo data``: training sets and benchmarks as parquet."""

from treepo.datasets.__main__ import app

__all__ = ["app"]
