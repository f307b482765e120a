"""Datasets on disk, in the layout that verl reads."""

from treepo.datasets.parquet import check_parquet

__all__ = ["check_parquet"]
