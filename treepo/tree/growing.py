"""A path while it grows."""

from collections.abc import Sequence
from dataclasses import dataclass

from treepo.config import TreePOConfig
from treepo.tree.node import FinishReason, Node, Nodes, Segment, SegmentRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowingPath:
    """A path between two segments, or one that just ended.

    Attributes:
        nodes: Its nodes.
        request_id: The request that decoded its last node; None at the root and at a cut.
        length: Its tokens.
        depth: Windows it has used up.
        from_fallback: Whether it grew out of a fallback.
        reason: Why it ended; None while it is active.
    """

    nodes: Nodes
    request_id: int | None
    length: int
    depth: int
    from_fallback: bool
    reason: FinishReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """A request that was not answered yet, and the path that it extends."""

    request: SegmentRequest
    path: GrowingPath


def at_root(*, from_fallback: bool) -> GrowingPath:
    """The path that has no segment yet."""
    return GrowingPath(nodes=(), request_id=None, length=0, depth=0, from_fallback=from_fallback)


def node_of(segment: Segment, node_id: int, *, observation: Sequence[int] = ()) -> Node:
    """A segment as a node, with the observation behind it."""
    return Node(
        id=node_id,
        tokens=[*segment.tokens, *observation],
        log_probs=[*segment.log_probs, *[0.0] * len(observation)],
        weight_versions=segment.weight_versions,
        observed=len(observation),
    )


def request_behind(
    path: GrowingPath, *, config: TreePOConfig, room: int, request_id: int, continues: bool, seed: int, node_id: int
) -> SegmentRequest:
    """The request for a path's next segment, where the response may have `room` tokens more."""
    return SegmentRequest(
        id=request_id,
        nodes=path.nodes,
        max_tokens=min(config.segment_length, room),
        reach=min((config.max_depth - path.depth) * config.segment_length, room),
        continues=continues,
        parent_request=path.request_id,
        seed=seed,
        node_id=node_id,
    )
