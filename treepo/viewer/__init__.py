"""Trees of a rollout as JSON Lines, and as a page that draws them."""

from treepo.viewer.dump import Row, Scores, tree_from_rows, tree_record
from treepo.viewer.load import DumpError, read_records, record_line
from treepo.viewer.page import render_page
from treepo.viewer.schema import VERSION, TreeRecord

__all__ = [
    "VERSION",
    "DumpError",
    "Row",
    "Scores",
    "TreeRecord",
    "read_records",
    "record_line",
    "render_page",
    "tree_from_rows",
    "tree_record",
]
