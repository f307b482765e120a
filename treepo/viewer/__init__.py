"""Trees of a rollout as JSON Lines, and as a page that draws them."""

from treepo.viewer.dump import Row, Scores, tree_from_rows, tree_record
from treepo.viewer.load import DumpError, dump_files, read_records, record_line
from treepo.viewer.page import Written, write_page
from treepo.viewer.schema import VERSION, TreeRecord
from treepo.viewer.shown import ShownNode, ShownTrajectory, ShownTree, shown_tree

__all__ = [
    "VERSION",
    "DumpError",
    "Row",
    "Scores",
    "ShownNode",
    "ShownTrajectory",
    "ShownTree",
    "TreeRecord",
    "Written",
    "dump_files",
    "read_records",
    "record_line",
    "shown_tree",
    "tree_from_rows",
    "tree_record",
    "write_page",
]
