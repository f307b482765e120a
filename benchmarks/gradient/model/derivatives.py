"""Derivatives of the log-probabilities of sampled tokens along given directions of the parameters.

A credit's gradient is linear in its advantages: the gradient of a prompt is the sum, over the tokens of its rows, of
advantage times score, the gradient of the token's log-probability. So its product with a direction needs the scores'
products with it alone, which are derivatives along the direction: two packed forwards for all tokens of a prompt, and
none for another credit. They are central differences in double precision.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from treepo.packing import Layout, ReadOut, Rows, lay_out, read_out, score_labels, to_responses
from treepo.packing.attention import model_inputs
from treepo.tree import Tree

STEP = 1e-5
"""Length of a step along a direction, either way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """The trajectories of a prompt, laid out once.

    Attributes:
        rows: Prompt and response of each.
        layout: Where every distinct token stands.
        readout: Which of them predict the responses.
        length: Columns of what is given by response.
    """

    rows: Rows
    layout: Layout
    readout: ReadOut
    length: int

    @classmethod
    def of(cls, tree: Tree, *, length: int) -> "Packed":
        """Lays out a tree, or independent samples."""
        rows = Rows.of(
            [list(tree.prompt_tokens)] * len(tree.trajectories), [trajectory.tokens for trajectory in tree.trajectories]
        )
        layout = lay_out(rows)
        return cls(rows=rows, layout=layout, readout=read_out(layout, rows), length=length)

    def by_response(self, labels: Tensor) -> np.ndarray:
        """Numbers of labels, by row and token of the response: shape (rows, length), 0 behind the end."""
        return to_responses(labels, self.readout, self.rows, self.length).numpy()

    def sources(self) -> np.ndarray:
        """Which of the read positions predicts each token: shape (rows, length), 0 behind the end."""
        return self.by_response(self.readout.sources)

    def per_label(self, weights: np.ndarray) -> Tensor:
        """Sums over the rows that share a label: from (rows, length) to (labels,)."""
        numbers = torch.arange(len(self.readout.labels))
        places = torch.from_numpy(self.by_response(numbers + 1))
        found = torch.zeros(len(numbers) + 1, dtype=torch.float64)
        found.index_add_(0, places.flatten(), torch.from_numpy(weights).double().flatten())
        return found[1:]


def hidden_states(model: PreTrainedModel, packed: Packed) -> Tensor:
    """The last hidden states at the read positions, shape (read, hidden size)."""
    base: Any = model.get_decoder()
    states = base(**model_inputs(packed.layout, "cpu"), use_cache=False).last_hidden_state
    return states[0].index_select(0, packed.readout.positions)


def log_probs(model: PreTrainedModel, packed: Packed) -> Tensor:
    """Log-probabilities of the labels, shape (labels,)."""
    head = model.get_output_embeddings()
    assert isinstance(head, torch.nn.Linear)
    return score_labels(hidden_states(model, packed), head.weight, packed.readout).log_probs


class Directions:
    """Moves a model's parameters along directions, and puts them back."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Remembers where the parameters are."""
        self.model = model
        self.parameters = list(model.parameters())
        self._home = [parameter.detach().clone() for parameter in self.parameters]
        self.size = sum(parameter.numel() for parameter in self.parameters)

    @torch.no_grad()
    def derivative(self, direction: Tensor, value: Callable[[], Tensor]) -> Tensor:
        """Derivative of a value along a direction.

        Args:
            direction: Shape (parameters,), not zero.
            value: What is looked at; computed by the model.
        """
        step = STEP / float(direction.norm())
        ends = []
        try:
            for sign in (1.0, -1.0):
                self._move(direction, sign * step)
                ends.append(value())
        finally:
            for parameter, home in zip(self.parameters, self._home, strict=True):
                parameter.copy_(home)
        return (ends[0] - ends[1]) / (2 * step)

    def signs(self, *numbers: int) -> Tensor:
        """A random direction of plus and minus ones, the same for the same numbers."""
        seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 2, (self.size,), generator=generator).double().mul_(2).sub_(1)

    def gradient(self, value: Tensor) -> Tensor:
        """The gradient of a number, shape (parameters,); the graph is kept."""
        found = torch.autograd.grad(value, self.parameters, retain_graph=True)
        return torch.cat([part.flatten() for part in found])

    def _move(self, direction: Tensor, step: float) -> None:
        start = 0
        for parameter, home in zip(self.parameters, self._home, strict=True):
            stop = start + parameter.numel()
            parameter.copy_(home).add_(direction[start:stop].view_as(parameter), alpha=step)
            start = stop


def scores_along(moves: Directions, packed: Packed, directions: Sequence[Tensor]) -> np.ndarray:
    """Every token's score along some directions: shape (directions, rows, length)."""
    found = [packed.by_response(moves.derivative(one, lambda: log_probs(moves.model, packed))) for one in directions]
    return np.stack(found)
