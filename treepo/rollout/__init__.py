"""Runs trees over an engine: the seam to the engine, and the driver of one prompt."""

from treepo.rollout.driver import RolloutError, grow_tree
from treepo.rollout.engine import SegmentEngine

__all__ = ["RolloutError", "SegmentEngine", "grow_tree"]
