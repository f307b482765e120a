"""Runs trees over an engine: its seam, the driver of one prompt, trees beside a streaming engine, trees of turns."""

from treepo.rollout.driver import RolloutError, grow_at_once, grow_tree
from treepo.rollout.engine import SegmentEngine
from treepo.rollout.in_engine import Chunk, Decoder, InEngine
from treepo.rollout.turns import Behind, TurnEngine, TurnLimits, without_forks

__all__ = [
    "Behind",
    "Chunk",
    "Decoder",
    "InEngine",
    "RolloutError",
    "SegmentEngine",
    "TurnEngine",
    "TurnLimits",
    "grow_at_once",
    "grow_tree",
    "without_forks",
]
