"""The tree sampler: pure, without I/O, without torch."""

from treepo.tree.node import (
    FinishReason,
    Node,
    Segment,
    SegmentRequest,
    Trajectory,
    Tree,
    TreeStats,
)
from treepo.tree.path import NodePath
from treepo.tree.sampler import TreeSampler
from treepo.tree.text import AnswerScan

__all__ = [
    "AnswerScan",
    "FinishReason",
    "Node",
    "NodePath",
    "Segment",
    "SegmentRequest",
    "Trajectory",
    "Tree",
    "TreeSampler",
    "TreeStats",
]
