"""Datasets on disk, in the layout that verl reads."""

from treepo.datasets.table import check_table

__all__ = ["check_table"]
