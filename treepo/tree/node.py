"""What a tree is made of: nodes, the requests and segments that grow them, and what is handed on at the end.

Terms: a **node** is one segment of decoded tokens, a **path** the nodes from the root to some node, a **trajectory** a
finished path. The root is the prompt; it has no node of its own, so the empty path is the root.

In trees of turns **observed** tokens of an environment, of log-prob 0.0, follow a node's **written** tokens.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from treepo.tree.path import NodePath


class FinishReason(StrEnum):
    """Why a path became a trajectory; the last three: its environment ended it, no turn was left, or it failed."""

    ANSWERED = "answered"
    EOS = "eos"
    MAX_TOKENS = "max_tokens"
    MAX_DEPTH = "max_depth"
    REPETITION = "repetition"
    DONE = "done"
    MAX_TURNS = "max_turns"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, init=False)
class Node:
    """One segment of a tree. It owns its own tokens only and knows no parent, so a split can rewrite paths.

    Tokens and log-probs are packed into bytes, 4 for each: a batch holds millions of them, and bytes are nothing that
    the garbage collector has to look through.

    Attributes:
        id: Unique in the prompt's tree, from 1; never given to another node, also not after a split.
        weight_versions: First and last version of the weights that decoded it.
        observed: How many of its tokens, the last ones, are an observation.

    Raises:
        ValueError: It has no token, or not one log-probability per token.
    """

    id: int
    weight_versions: tuple[int, int]
    observed: int
    _tokens: bytes
    _log_probs: bytes

    def __init__(
        self,
        *,
        id: int,
        tokens: Sequence[int],
        log_probs: Sequence[float],
        weight_versions: tuple[int, int] = (0, 0),
        observed: int = 0,
    ) -> None:
        assert 0 <= observed <= len(tokens), "observed tokens are some of its tokens"
        if len(tokens) != len(log_probs) or not len(tokens):
            raise ValueError(
                f"node {id} has {len(tokens)} tokens and {len(log_probs)} log-probs: one each, at least one"
            )
        object.__setattr__(self, "id", id)
        object.__setattr__(self, "observed", observed)
        object.__setattr__(self, "weight_versions", weight_versions)
        object.__setattr__(self, "_tokens", struct.pack(f"{len(tokens)}i", *tokens))
        object.__setattr__(self, "_log_probs", struct.pack(f"{len(log_probs)}f", *log_probs))

    @property
    def tokens(self) -> Sequence[int]:
        """Token ids, shape [n] with n >= 1."""
        return memoryview(self._tokens).cast("i")

    @property
    def log_probs(self) -> Sequence[float]:
        """Log-probability of each token when it was sampled, shape [n], in single precision."""
        return memoryview(self._log_probs).cast("f")

    @property
    def length(self) -> int:
        """Tokens of the node."""
        return len(self._tokens) // 4

    @property
    def written(self) -> int:
        """Tokens that the model wrote: the node's first ones."""
        return self.length - self.observed

    def position(self, token: int) -> int | None:
        """Where a token id occurs first, or None; searches bytes, since it is asked of every decoded segment."""
        pattern = struct.pack("i", token)
        found = self._tokens.find(pattern)
        while found >= 0 and found % 4:
            found = self._tokens.find(pattern, found + 1)
        return found // 4 if found >= 0 else None


Nodes = tuple[Node, ...]
"""The nodes of a path, from the root's child on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRequest:
    """A segment that the sampler wants.

    Attributes:
        id: Sequential in the prompt, from 0.
        nodes: The path that the segment extends; empty at the root.
        max_tokens: Most tokens the segment may have, at least 1; keeps the response within its length.
        reach: Most tokens that the segment and all that continue it may have together, at least `max_tokens`.
        continues: Whether the segment continues the path that just reached a boundary. At most one request per path
            does; all others fork from it, or start anew at the root or at a cut.
        parent_request: Id of the request that decoded the last of `nodes`; None at the root and at a cut.
        seed: Seed of the engine's draw, in [0, 2**63), derived from run seed, prompt id and request id.
        node_id: Id that the segment's node will have.
    """

    id: int
    nodes: Nodes
    max_tokens: int
    reach: int
    continues: bool
    parent_request: int | None
    seed: int
    node_id: int

    def prefix_tokens(self, prompt_tokens: Sequence[int]) -> list[int]:
        """All tokens before the segment: the prompt's, then the path's."""
        tokens = list(prompt_tokens)
        for node in self.nodes:
            tokens += node.tokens
        return tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """What the engine decoded for one request.

    Attributes:
        request_id: The request it answers.
        tokens: Token ids, shape [n] with 1 <= n <= the request's `max_tokens`; an end-of-sequence token is the last.
        log_probs: Log-probability of each token, shape [n].
        stopped: Whether the model ended the response here. A turn that an observation follows ends no response.
        observation: Tokens of the environment behind a segment that ends a turn; one token more has room behind them.
        ended_by: Why the response ended, where it did so without an answer.
        prefix_tokens: Tokens that were submitted to the engine as its prompt; 0 where a running request continued.
        cached_tokens: Those of them that the engine read from its prefix cache.
        weight_versions: First and last version of the weights that decoded it.
    """

    request_id: int
    tokens: Sequence[int]
    log_probs: Sequence[float]
    stopped: bool
    observation: Sequence[int] = ()
    ended_by: FinishReason = FinishReason.EOS
    prefix_tokens: int = 0
    cached_tokens: int = 0
    weight_versions: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """A finished path.

    Attributes:
        nodes: Its path, from the first decoded segment to the last.
        reason: Why it ended.
        finish_step: The step of its prompt at which it ended, from 1.
        from_fallback: Whether it grew out of a fallback.
    """

    nodes: Nodes
    reason: FinishReason
    finish_step: int
    from_fallback: bool

    @property
    def tokens(self) -> list[int]:
        """The response's token ids, shape [length]."""
        return [token for node in self.nodes for token in node.tokens]

    @property
    def log_probs(self) -> list[float]:
        """The response's log-probabilities, shape [length]."""
        return [log_prob for node in self.nodes for log_prob in node.log_probs]

    @property
    def length(self) -> int:
        """Tokens of the response."""
        return sum(node.length for node in self.nodes)

    @property
    def written(self) -> int:
        """Tokens of the response that the model wrote."""
        return sum(node.written for node in self.nodes)

    @property
    def response_mask(self) -> list[int]:
        """1 for every token that the model wrote, 0 for observed ones, shape [length]."""
        return [flag for node in self.nodes for flag in (*[1] * node.written, *[0] * node.observed)]

    @property
    def path(self) -> NodePath:
        """Its path as numbers, which the trainer gets; the lengths sum to `length`."""
        return NodePath(
            node_ids=tuple(node.id for node in self.nodes), node_lengths=tuple(node.length for node in self.nodes)
        )

    @property
    def weight_versions(self) -> tuple[int, int]:
        """First and last version of the weights that decoded a token of it."""
        first, last = zip(*(node.weight_versions for node in self.nodes), strict=True)
        return min(first), max(last)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeStats:
    """What growing one tree took.

    Attributes:
        fallbacks: Times the prompt had nothing active and grew again from cuts or the root.
        finished_before_fallback: Trajectories finished before the first of them; all, where there was none.
        steps: Steps of the prompt.
        segments: Segments decoded, one per request.
        submitted: Requests that were submitted to the engine, the others having continued in a running one.
        forks: Requests that fork from a path at its boundary or from a cut inside the tree.
        dropped: Trajectories that were too short and are not handed on.
        tokens_generated: Tokens decoded, those of dropped trajectories too.
        tokens_in_trajectories: Tokens of the trajectories that the model wrote; shared ones count once per trajectory.
        prefix_tokens: Tokens submitted to the engine as prompts, by its own count.
        cached_tokens: Those of them that it read from its prefix cache.
        recomputed_tokens: Those of them that it computed again: neither cached nor the prompt's first computation.
    """

    fallbacks: int
    finished_before_fallback: int
    steps: int
    segments: int
    submitted: int
    forks: int
    dropped: int
    tokens_generated: int
    tokens_in_trajectories: int
    prefix_tokens: int
    cached_tokens: int
    recomputed_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One prompt's finished tree.

    Attributes:
        prompt_id: The prompt.
        prompt_tokens: Its token ids.
        trajectories: In the order in which they finished, by step and request id.
        stats: What growing it took.
    """

    prompt_id: str
    prompt_tokens: Sequence[int]
    trajectories: tuple[Trajectory, ...]
    stats: TreeStats


def split_node(node: Node, at: int, head_id: int, tail_id: int) -> tuple[Node, Node]:
    """The same tokens as two nodes, the first with `at` of them; both parts get ids of their own."""
    assert 0 < at < node.length, "a split leaves tokens on both sides"
    assert node.observed == 0, "trees of turns are cut between nodes"

    def part(part_id: int, place: slice) -> Node:
        return Node(
            id=part_id,
            tokens=node.tokens[place],
            log_probs=node.log_probs[place],
            weight_versions=node.weight_versions,
        )

    return part(head_id, slice(at)), part(tail_id, slice(at, None))


def locate(nodes: Nodes, position: int) -> tuple[int, int]:
    """Where a token position falls in a path.

    Args:
        nodes: The path.
        position: Tokens from the root, 0 <= position < length of the path.

    Returns:
        The index of the node that holds the token, and the tokens of that node before it.
    """
    for index, node in enumerate(nodes):
        if position < node.length:
            return index, position
        position -= node.length
    raise AssertionError("the position lies inside the path")
