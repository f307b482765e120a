"""Runs trees over an engine: the seam to the engine, the driver of one prompt, and trees beside a streaming engine."""

from treepo.rollout.driver import RolloutError, grow_tree
from treepo.rollout.engine import SegmentEngine
from treepo.rollout.in_engine import Chunk, Decoder, InEngine

__all__ = ["Chunk", "Decoder", "InEngine", "RolloutError", "SegmentEngine", "grow_tree"]
