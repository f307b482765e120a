"""The finished trajectories of one tree, and growing again from them."""

import random
from collections.abc import Iterator
from dataclasses import replace

from treepo.config import TreePOConfig
from treepo.config.policies import CutPosition
from treepo.tree.fallback import Candidate, cut_position, order_candidates, share_out, turn_cut
from treepo.tree.growing import GrowingPath, at_root
from treepo.tree.node import FinishReason, Node, Nodes, Trajectory, locate, split_node
from treepo.tree.text import TextReader


class FinishedPaths:
    """Finished trajectories in the order in which they finished.

    Args:
        config: The rules.
        node_ids: Gives the ids of the nodes that a split makes.
        texts: What was read of the nodes' text.
        rng: The prompt's random stream.
        turns: Whether the tree is one of turns, which is cut between them and never inside of a node.
    """

    def __init__(
        self,
        config: TreePOConfig,
        *,
        node_ids: Iterator[int],
        texts: TextReader,
        rng: random.Random,
        turns: bool = False,
    ) -> None:
        self.trajectories: list[Trajectory] = []
        self.tokens = 0
        self._config = config
        self._node_ids = node_ids
        self._texts = texts
        self._rng = rng
        self._turns = turns

    def __len__(self) -> int:
        return len(self.trajectories)

    def add(self, trajectory: Trajectory) -> None:
        """Adds a trajectory."""
        self.trajectories.append(trajectory)
        self.tokens += trajectory.length

    def fall_back(self, remaining: int, divergence: int) -> list[GrowingPath]:
        """Where a fallback grows from: one path for every new request.

        Args:
            remaining: Trajectories still wanted, at least 1.
            divergence: New requests per candidate.

        Returns:
            Between 1 and `remaining` paths; paths cut from the same candidate follow each other.
        """
        options = self._config.fallback
        window = None if self._turns else options.window or self._config.segment_length
        candidates = order_candidates(options, self._candidates(), window=window, rng=self._rng)
        if not candidates:
            return [at_root(from_fallback=True)]
        if options.cut is CutPosition.FROM_START:
            del candidates[1:]
        shares = share_out(remaining, len(candidates), divergence)
        cuts = [(candidate.index, self._draw_cut(candidate)) for candidate in candidates[: len(shares)]]
        # All splits come before the first path is handed out, so that none holds a node that is split after it.
        for index, position in cuts:
            self._end_node_at(index, position)
        parents = [self._prefix(index, position) for index, position in cuts]
        return [parent for parent, share in zip(parents, shares, strict=True) for _ in range(share)]

    def _candidates(self) -> list[Candidate]:
        return [
            Candidate(
                index=index,
                trajectory=trajectory,
                open_answer=trajectory.reason is not FinishReason.ANSWERED
                and self._texts.answer(trajectory.nodes).begun,
            )
            for index, trajectory in enumerate(self.trajectories)
        ]

    def _draw_cut(self, candidate: Candidate) -> int:
        """Tokens kept."""
        if self._turns:
            kept = turn_cut(self._config.fallback, candidate.trajectory, rng=self._rng)
            return sum(node.length for node in candidate.trajectory.nodes[:kept])
        return cut_position(
            self._config.fallback,
            candidate.trajectory,
            segment_length=self._config.segment_length,
            max_depth=self._config.max_depth,
            rng=self._rng,
        )

    def _end_node_at(self, index: int, position: int) -> None:
        """Makes a node of a trajectory end after `position` tokens, splitting the node that holds both sides."""
        nodes = self.trajectories[index].nodes
        place, inside = locate(nodes, position)
        if inside:
            self._split(nodes[:place], nodes[place], inside)

    def _split(self, before: Nodes, node: Node, at: int) -> None:
        """Splits a node and rewrites every trajectory through it: a shared prefix stays shared to the token."""
        head, tail = split_node(node, at, next(self._node_ids), next(self._node_ids))
        self._texts.split(before, node, head, tail)
        place = len(before)
        for index, trajectory in enumerate(self.trajectories):
            nodes = trajectory.nodes
            if len(nodes) > place and nodes[place].id == node.id:
                rewritten = (*nodes[:place], head, tail, *nodes[place + 1 :])
                self.trajectories[index] = replace(trajectory, nodes=rewritten)

    def _prefix(self, index: int, position: int) -> GrowingPath:
        """The path to the first `position` tokens of a trajectory, where a node ends."""
        nodes = self.trajectories[index].nodes
        place, inside = locate(nodes, position)
        assert inside == 0, "a node ends at every cut"
        return GrowingPath(
            nodes=nodes[:place],
            request_id=None,
            length=position,
            # Between turns nodes are whole, and their observations lengthen them past any window.
            depth=place if self._turns else -(-position // self._config.segment_length),
            from_fallback=True,
        )
