"""Counting what growing one tree takes."""

from collections.abc import Sequence
from dataclasses import dataclass

from treepo.tree.node import Segment, Trajectory, TreeStats


@dataclass(slots=True)
class TreeCounter:
    """Running counts of one prompt; see `TreeStats` for what they mean."""

    requests: int = 0
    forks: int = 0
    steps: int = 0
    segments: int = 0
    submitted: int = 0
    dropped: int = 0
    fallbacks: int = 0
    finished_before_fallback: int = 0
    tokens_generated: int = 0
    prefix_tokens: int = 0
    cached_tokens: int = 0
    first_computation: int = 0

    def segment(self, segment: Segment) -> None:
        """Counts a decoded segment."""
        self.segments += 1
        self.submitted += segment.prefix_tokens > 0
        self.tokens_generated += len(segment.tokens)
        self.prefix_tokens += segment.prefix_tokens
        self.cached_tokens += segment.cached_tokens
        if self.steps == 0:
            # The requests at the root start together; whichever the engine took first computed the prompt.
            self.first_computation = max(self.first_computation, segment.prefix_tokens - segment.cached_tokens)

    def fallback(self, finished: int) -> None:
        """Counts a fallback that sets in when `finished` trajectories have finished."""
        if self.fallbacks == 0:
            self.finished_before_fallback = finished
        self.fallbacks += 1

    def summary(self, trajectories: Sequence[Trajectory]) -> TreeStats:
        """The counts of a tree with these trajectories."""
        return TreeStats(
            fallbacks=self.fallbacks,
            finished_before_fallback=self.finished_before_fallback if self.fallbacks else len(trajectories),
            steps=self.steps,
            segments=self.segments,
            submitted=self.submitted,
            forks=self.forks,
            dropped=self.dropped,
            tokens_generated=self.tokens_generated,
            tokens_in_trajectories=sum(trajectory.written for trajectory in trajectories),
            prefix_tokens=self.prefix_tokens,
            cached_tokens=self.cached_tokens,
            recomputed_tokens=self.prefix_tokens - self.cached_tokens - self.first_computation,
        )
