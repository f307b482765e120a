"""What decides the warm-started model."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import ClassVar

from treepo.quickstart.task import TaskSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStartSettings:
    """What decides the warm-started model.

    Attributes:
        task: The task it is trained on.
        seed: Seed of the weights, the problems and the samples.
        hidden_size: Width of the model.
        layers: Layers of the model.
        intermediate_size: Width of its feed-forward layers.
        vocabulary: Tokens, at most.
        batch: Problems per step.
        matrix_lr: Learning rate of the layers' matrices, by Muon.
        other_lr: Learning rate of embeddings and norms, by AdamW.
        slip_chance: How often the pupil forgets a carry.
        target: Accuracy at which the training stops, sampled at temperature 1 on problems of their own.
        band: Accuracies between which the result must lie.
        most_steps: Steps at most.
        check_every: Steps between two looks at the accuracy.
        response_length: Tokens of a sampled response, at most.
    """

    version: ClassVar[int] = 2
    """Raised when the code changes what a model would become, so that no older one is taken from the cache."""

    task: TaskSettings = field(default_factory=TaskSettings)
    seed: int = 0
    hidden_size: int = 96
    layers: int = 3
    intermediate_size: int = 256
    vocabulary: int = 400
    batch: int = 32
    matrix_lr: float = 0.02
    other_lr: float = 5e-3
    slip_chance: float = 0.35
    target: float = 0.3
    band: tuple[float, float] = (0.15, 0.5)
    most_steps: int = 1200
    check_every: int = 40
    response_length: int = 160

    def rate(self, step: int) -> float:
        """Share of the learning rates that a step has: they rise over the first 30 steps; steps count from 1."""
        return min(1.0, step / 30)

    @property
    def key(self) -> str:
        """Names the result in the cache."""
        text = json.dumps({"version": self.version, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
