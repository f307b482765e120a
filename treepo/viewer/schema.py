"""The format of dumped trees: one JSON object per line and prompt.

A record holds all that is needed to draw the tree again: every node once, with its own tokens, and every trajectory as
a path of node ids. A record that contradicts itself does not validate.
"""

from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from treepo.tree import FinishReason, Node, NodePath, Trajectory, Tree, TreeStats

VERSION = 4
"""Rises whenever a reader of the format has to change."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PromptRecord(_Part):
    """The root of a tree.

    Attributes:
        uid: The trainer's id of the prompt group.
        text: The prompt as the model reads it.
        tokens: Its token ids.
        ground_truth: What the reward compares with; None where there is none.
    """

    uid: str
    text: str
    tokens: tuple[int, ...]
    ground_truth: JsonValue = None


class NodeRecord(_Part):
    """One node with its own tokens.

    Attributes:
        id: Unique in the tree.
        parent: The node before it; None below the root.
        depth: Nodes from the root, from 1.
        start: Position of its first token in the response, from 0.
        text: Its decoded tokens. A character whose bytes fall into two nodes is whole in neither.
        tokens: Token ids, shape [n] with n >= 1.
        pieces: The text of every token, shape [n]; None where it was not asked for.
        log_probs: Log-probability of each token when it was sampled, shape [n].
        entropies: Entropy in nats of the distribution that each token was drawn from, by the trainer's weights before
            the step's update, shape [n]; None where the trainer computed none.
        observed: How many of the tokens, the last ones, an environment or a tool wrote.
        weight_versions: First and last version of the weights that sampled it.
    """

    id: int
    parent: int | None
    depth: int = Field(ge=1)
    start: int = Field(ge=0)
    text: str
    tokens: tuple[int, ...] = Field(min_length=1)
    pieces: tuple[str, ...] | None = None
    log_probs: tuple[float, ...]
    entropies: tuple[float, ...] | None = None
    observed: int = Field(default=0, ge=0)
    weight_versions: tuple[int, int]

    @property
    def written(self) -> int:
        """Tokens that the model wrote: the first ones."""
        return len(self.tokens) - self.observed


class TrajectoryRecord(_Part):
    """One finished path.

    Attributes:
        path: Its nodes, from the first to the leaf.
        reason: Why it ended.
        finish_step: The step of its prompt at which it ended, from 1.
        from_fallback: Whether it grew out of a fallback.
        reward: Its scalar reward.
        reward_extra: Further fields of the reward function.
        advantages: One entry per node: a number where all tokens that the model wrote have the same advantage, else one
            number per token. None where there are no advantages.
    """

    path: NodePath
    reason: FinishReason
    finish_step: int
    from_fallback: bool
    reward: float
    reward_extra: dict[str, JsonValue] = {}
    advantages: tuple[float | tuple[float, ...], ...] | None = None


class TreeRecord(_Part):
    """One prompt's tree.

    Attributes:
        version: Of the format; in version 2 nothing is observed, before version 4 there are no entropies.
        step: The training step.
        prompt: The root.
        nodes: Every node once, parents before their children.
        trajectories: In the tree's order.
        stats: What growing the tree took: the fields of `treepo.tree.TreeStats`, and whatever the trainer adds.
    """

    version: Literal[2, 3, 4]
    step: int
    prompt: PromptRecord
    nodes: tuple[NodeRecord, ...]
    trajectories: tuple[TrajectoryRecord, ...] = Field(min_length=1)
    stats: dict[str, int | float]

    @model_validator(mode="after")
    def _fits_together(self) -> "TreeRecord":
        known: dict[int, NodeRecord] = {}
        for node in self.nodes:
            _check_node(node, known)
            known[node.id] = node
        for number, trajectory in enumerate(self.trajectories):
            _check_trajectory(number, trajectory, known)
        unused = known.keys() - {node for trajectory in self.trajectories for node in trajectory.path.node_ids}
        if unused:
            raise ValueError(f"node {min(unused)} lies on no trajectory")
        return self

    def tree(self) -> Tree:
        """The tree as it was grown.

        Raises:
            ValueError: The record lacks a statistic.
        """
        nodes = {
            node.id: Node(
                id=node.id,
                tokens=node.tokens,
                log_probs=node.log_probs,
                weight_versions=node.weight_versions,
                observed=node.observed,
            )
            for node in self.nodes
        }
        return Tree(
            prompt_id=self.prompt.uid,
            prompt_tokens=self.prompt.tokens,
            trajectories=tuple(
                Trajectory(
                    nodes=tuple(nodes[node] for node in trajectory.path.node_ids),
                    reason=trajectory.reason,
                    finish_step=trajectory.finish_step,
                    from_fallback=trajectory.from_fallback,
                )
                for trajectory in self.trajectories
            ),
            stats=tree_stats(self.stats),
        )


def tree_stats(stats: Mapping[str, int | float]) -> TreeStats:
    """The statistics of a tree among others.

    Raises:
        ValueError: One is missing.
    """
    names = [field.name for field in fields(TreeStats)]
    missing = [name for name in names if name not in stats]
    if missing:
        raise ValueError(f"the tree's statistics lack {', '.join(missing)}")
    return TreeStats(**{name: int(stats[name]) for name in names})


def _check_node(node: NodeRecord, known: Mapping[int, NodeRecord]) -> None:
    if node.id in known:
        raise ValueError(f"node {node.id} occurs twice")
    if len(node.log_probs) != len(node.tokens):
        raise ValueError(f"node {node.id} has {len(node.tokens)} tokens and {len(node.log_probs)} log_probs")
    if node.entropies is not None and len(node.entropies) != len(node.tokens):
        raise ValueError(f"node {node.id} has {len(node.tokens)} tokens and {len(node.entropies)} entropies")
    if node.observed >= len(node.tokens):
        raise ValueError(f"node {node.id} has {len(node.tokens)} tokens, none of which the model wrote")
    if node.pieces is not None and len(node.pieces) != len(node.tokens):
        raise ValueError(f"node {node.id} has {len(node.tokens)} tokens and {len(node.pieces)} pieces")
    depth, start = 1, 0
    if node.parent is not None:
        if node.parent not in known:
            raise ValueError(f"node {node.id}: its parent {node.parent} does not stand before it")
        parent = known[node.parent]
        depth, start = parent.depth + 1, parent.start + len(parent.tokens)
    if (node.depth, node.start) != (depth, start):
        raise ValueError(
            f"node {node.id} has depth {node.depth} and start {node.start}, by its parent {depth} and {start}"
        )


def _check_trajectory(number: int, trajectory: TrajectoryRecord, known: Mapping[int, NodeRecord]) -> None:
    missing = [node for node in trajectory.path.node_ids if node not in known]
    if missing:
        raise ValueError(f"trajectory {number} names node {missing[0]}, which is not there")
    path = [known[node] for node in trajectory.path.node_ids]
    for node, length in zip(path, trajectory.path.node_lengths, strict=True):
        if length != len(node.tokens):
            raise ValueError(f"trajectory {number}: node {node.id} has {len(node.tokens)} tokens, by its path {length}")
    if not path or path[0].parent is not None or any(before.id != node.parent for before, node in pairwise(path)):
        raise ValueError(f"trajectory {number}: its nodes are no path from the root")
    advantages = trajectory.advantages
    if advantages is None:
        return
    if len(advantages) != len(path):
        raise ValueError(f"trajectory {number} has {len(path)} nodes and {len(advantages)} advantages")
    for node, own in zip(path, advantages, strict=True):
        if isinstance(own, tuple) and len(own) != len(node.tokens):
            raise ValueError(
                f"trajectory {number}, node {node.id}: {len(node.tokens)} tokens and {len(own)} advantages"
            )
