"""What a tree needs of an engine."""

from collections.abc import Sequence
from typing import Protocol

from treepo.tree import Segment, SegmentRequest


class SegmentEngine(Protocol):
    """Decodes the segments of one tree.

    An engine promises, and ``tests/contract`` holds every engine to it:

    * a segment answers its request's id, and has between 1 and ``request.max_tokens`` tokens, each with the log-prob
      under which it was sampled;
    * ``stopped`` is set exactly where the model itself ended the answer, however short the segment;
    * requests are independent of each other: any number may be in flight, and they may end in any order;
    * the same request seed on the same prefix gives the same tokens where the engine draws reproducibly at all;
    * a request that cannot be answered raises; it never returns half a segment;
    * after ``close`` nothing of the tree runs any more.
    """

    async def decode_segment(self, prompt_tokens: Sequence[int], request: SegmentRequest) -> Segment:
        """Decodes one segment.

        Args:
            prompt_tokens: The prompt's tokens, the same for all requests of a tree.
            request: The path to continue from, the most tokens wanted, and the seed of its sampling.

        Returns:
            The decoded segment.
        """
        ...

    def release(self, request_id: int) -> None:
        """Says that nothing will continue the path that this request decoded."""
        ...

    async def close(self) -> None:
        """Ends what still runs of the tree, and returns when it has ended."""
        ...
