"""The tree sampler: pure, without I/O, without torch."""

from treepo.tree.node import (
    ROOT_ID,
    FinishReason,
    Node,
    Path,
    Segment,
    SegmentRequest,
    Trajectory,
    Tree,
    TreeStats,
)
from treepo.tree.sampler import TreeSampler
from treepo.tree.text import AnswerScan

__all__ = [
    "ROOT_ID",
    "AnswerScan",
    "FinishReason",
    "Node",
    "Path",
    "Segment",
    "SegmentRequest",
    "Trajectory",
    "Tree",
    "TreeSampler",
    "TreeStats",
]
