"""The seam to whatever generates: independent samples, and trees, of one prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from treepo.config import TreePOConfig
from treepo.evaluation.ask.prompts import Prompt
from treepo.tree import FinishReason, NodePath


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A generated response.

    Attributes:
        tokens: Its token ids, shape [n]; an end-of-sequence token is the last.
        log_probs: Log-probability of each, shape [n]; None where they were not asked for.
        finish: Why it ended.
        final_turn: Tokens of the model's last turn, which alone is judged; None where there is one turn.
        path: The way through its tree; None for an independent sample.
        from_fallback: Whether it grew out of a fallback.
    """

    tokens: Sequence[int]
    log_probs: tuple[float, ...] | None
    finish: FinishReason
    final_turn: Sequence[int] | None = None
    path: NodePath | None = None
    from_fallback: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What one call of the engine gave.

    Attributes:
        responses: One, or a tree's.
        tokens_generated: Tokens decoded; a tree's shared ones count once.
        prefix_tokens: Tokens submitted as prompts.
        cached_tokens: Those of them that came from the prefix cache.
    """

    responses: tuple[Response, ...]
    tokens_generated: int
    prefix_tokens: int
    cached_tokens: int


class Generator(Protocol):
    """Generates. An exception of either call is that prompt's alone; cancelling a call ends it."""

    async def sample(self, prompt: Prompt, *, seed: int) -> Generated:
        """One independent sample.

        Args:
            prompt: The prompt.
            seed: Seed of the sampling, in [0, 2**63).
        """
        ...

    async def grow(self, prompt: Prompt, *, options: TreePOConfig) -> Generated:
        """One tree of `options.width` samples; its draws follow from `options.seed` and the question."""
        ...

    async def warm_up(self, prompt: Prompt) -> None:
        """Brings every engine up to speed, so that its slow first steps are in no sample's time."""
        ...

    async def forget_prefixes(self) -> None:
        """Empties the prefix caches; nothing is running then."""
        ...
