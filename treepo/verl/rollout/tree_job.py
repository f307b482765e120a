"""One prompt's tree as a message: what a worker asks of whoever grows it, and what it gets back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from treepo.config import TreePOConfig
from treepo.tree import Tree, TreeSampler


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeJob:
    """A tree to grow; plain values, since it travels between processes.

    Attributes:
        tree_id: verl's id of the prompt group; requests of one id go to one server.
        prompt_id: Names the prompt alike in every run; with the run seed it gives the tree's random stream.
        prompt_tokens: The prompt's token ids.
        options: TreePO's options.
        sampling_params: verl's sampling parameters (temperature, top_p, ...).
        max_response_length: Most tokens of a trajectory.
        eos_token_ids: Tokens that end an answer.
        width: Trajectories wanted instead of the configured width.
        training_progress: Share of the training that is over, 0 to 1.
        seeded: Whether every request draws from its own seed.
        replicas: Servers that share the prompts of a step.
        turns: Whether the segments are turns of a conversation.
    """

    tree_id: str
    prompt_id: str
    prompt_tokens: list[int]
    options: TreePOConfig
    sampling_params: dict[str, Any]
    max_response_length: int
    eos_token_ids: frozenset[int]
    width: int | None
    training_progress: float
    seeded: bool
    replicas: int
    turns: bool = False

    def sampler(
        self,
        decode: Callable[[Sequence[int]], str],
        active_prompts: Callable[[], int],
        *,
        max_response_length: int | None = None,
    ) -> TreeSampler:
        """The sampler that grows it.

        Args:
            decode: Text of some token ids.
            active_prompts: Gives the number of prompts that grow now.
            max_response_length: A shorter one than the job's, where the engine leaves less room.
        """
        return TreeSampler(
            prompt_id=self.prompt_id,
            prompt_tokens=self.prompt_tokens,
            config=self.options,
            max_response_length=max_response_length or self.max_response_length,
            eos_token_ids=self.eos_token_ids,
            decode=decode,
            width=self.width,
            training_progress=self.training_progress,
            active_prompts=active_prompts,
            turns=self.turns,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GrownTree:
    """A tree and what it cost beyond its own tokens.

    Attributes:
        tree: The tree.
        discarded_tokens: Tokens that were received past the end of a path and belong to no trajectory, and all of those
            of a tree that was given up before; what the engine had not handed out yet when a request was ended is not
            among them.
    """

    tree: Tree
    discarded_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """What a server that has left the rotation says of a tree: it must be grown elsewhere, from its start.

    Attributes:
        tokens: Tokens that were received for it.
    """

    tokens: int
