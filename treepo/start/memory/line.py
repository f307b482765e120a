"""One use of an accelerator's memory, as a line of a table."""

from dataclasses import dataclass
from enum import StrEnum

GIB = 1 << 30
BYTES = {"fp32": 4, "float32": 4, "bf16": 2, "bfloat16": 2, "fp16": 2, "float16": 2}
"""Of a number, by the name of its type."""


class Kind(StrEnum):
    """What memory is used for; the value is what the table calls it."""

    WEIGHTS = "weights"
    GRADIENTS = "gradients"
    OPTIMISER = "optimiser"
    REFERENCE = "reference weights"
    GATHERED = "gathered layers"
    ACTIVATIONS = "activations"
    KEYS = "gathered keys"
    LOGITS = "logits"
    ENGINE = "rollout engine"
    ENGINE_WEIGHTS = "engine weights"
    CACHE = "cache per trajectory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One use of memory.

    Attributes:
        kind: What for.
        size: Bytes.
        formula: How they are counted.
    """

    kind: Kind
    size: float
    formula: str

    @property
    def name(self) -> str:
        """What the table calls it."""
        return self.kind.value

    def __str__(self) -> str:
        """A row of the table."""
        return f"    {self.name:<24}{self.size / GIB:>9.3f}  = {self.formula}"
