"""A path while it grows."""

from dataclasses import dataclass

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
    """A request that was not answered yet, the path that it extends and the id its node will have."""

    request: SegmentRequest
    path: GrowingPath
    node_id: int

    def node(self, segment: Segment) -> Node:
        """The node that the answer becomes."""
        return Node(
            id=self.node_id,
            tokens=segment.tokens,
            log_probs=segment.log_probs,
            weight_versions=segment.weight_versions,
        )


def at_root(*, from_fallback: bool) -> GrowingPath:
    """The path that has no segment yet."""
    return GrowingPath(nodes=(), request_id=None, length=0, depth=0, from_fallback=from_fallback)
