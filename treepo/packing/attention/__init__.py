"""Attention over packed trees, in the models of transformers; importing this registers it."""

from treepo.packing.attention import flash, interface
from treepo.packing.attention.interface import (
    IMPLEMENTATION,
    MODEL_TYPES,
    PackedAttention,
    check_model,
    model_inputs,
    obstacle,
    packed_attention,
)

__all__ = [
    "IMPLEMENTATION",
    "MODEL_TYPES",
    "PackedAttention",
    "check_model",
    "flash",
    "interface",
    "model_inputs",
    "obstacle",
    "packed_attention",
]
