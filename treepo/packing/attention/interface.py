"""Packed trees in the models of transformers, through its attention interface; importing this registers it."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PretrainedConfig

from treepo.packing.attention import flash
from treepo.packing.attention.chains import chain_attention
from treepo.packing.attention.paths import flash_attention, path_attention, plan_calls
from treepo.packing.layout import Layout

IMPLEMENTATION = "treepo_packed"
"""What a model's ``attn_implementation`` must be."""

MODEL_TYPES = ("gemma3_text", "llama", "mistral", "qwen2", "qwen3", "qwen3_moe")
"""Models whose only look across tokens is causal attention with position ids, full or in sliding windows."""

MOVING_ROPE = ("dynamic", "longrope")
"""Rotary embeddings that change with the longest position of the micro-batch, so no forward equals another."""


class PackedAttention:
    """What the attention of every layer needs to know of one micro-batch.

    It is handed to the model's forward as the keyword ``packed`` and reaches the layers in their keywords. So it is
    bound to the forward it belongs to: gradient checkpointing recomputes a layer with the same object, also after
    forwards of other micro-batches. Deliberately not a dataclass, so that FSDP passes it through unchanged.

    Attributes:
        layout: The packed rows.
        calls: The calls of flash attention, planned once for all layers; empty on the CPU.
    """

    __slots__ = ("calls", "layout")

    def __init__(self, layout: Layout, device: torch.device | str) -> None:
        self.layout = layout
        self.calls = () if torch.device(device).type == "cpu" else plan_calls(layout, device)


def model_inputs(layout: Layout, device: torch.device | str) -> dict[str, Any]:
    """The keywords of the model's forward for one micro-batch, which is one sequence; to go with ``use_cache=False``.

    Args:
        layout: The packed rows.
        device: The model's.
    """
    return {
        "input_ids": layout.tokens[None].to(device),
        "position_ids": layout.positions[None].to(device),
        "attention_mask": None,
        "packed": PackedAttention(layout, device),
    }


def check_model(config: PretrainedConfig) -> None:
    """Refuses models that a packed forward would not compute exactly.

    Raises:
        ValueError: The model type, other layers, attention dropout, a moving rotary embedding, capped logits, or an
            auxiliary loss.
    """
    if reason := obstacle(config):
        raise ValueError(f"treepo.packing does not support {reason}; train it row by row")


def obstacle(config: PretrainedConfig) -> str | None:
    """What about a model a packed forward would not compute exactly; None if nothing."""
    rope = getattr(config, "rope_parameters", None) or {}
    others = sorted({*(getattr(config, "layer_types", None) or ())} - {"full_attention", "sliding_attention"})
    reasons = {
        f"model type {config.model_type!r} (supported: {', '.join(MODEL_TYPES)})": config.model_type not in MODEL_TYPES,
        f"layers of type {', '.join(others)}": bool(others),
        f"attention_dropout {getattr(config, 'attention_dropout', 0.0)}": getattr(config, "attention_dropout", 0.0) > 0,
        f"rope_type {rope.get('rope_type')!r}": rope.get("rope_type") in MOVING_ROPE,
        "a router's auxiliary loss (output_router_logits), which counts tokens": getattr(
            config, "output_router_logits", False
        ),
        **{
            f"{name} {getattr(config, name, None)}": bool(getattr(config, name, None))
            for name in ("attn_logit_softcapping", "final_logit_softcapping", "use_bidirectional_attention")
        },
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed: PackedAttention | None = None,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    output_attentions: bool = False,
    **_: Any,
) -> tuple[Tensor, None]:
    """One layer's attention, in the shape of transformers' interface.

    Args:
        module: The attention module.
        query: Float, shape (1, heads, packed, head size).
        key: Float, shape (1, key heads, packed, head size).
        value: Like `key`.
        attention_mask: Must be None.
        packed: The micro-batch.
        scaling: The scores are multiplied by it.
        dropout: Must be 0.
        sliding_window: A token attends to this many tokens of its path, itself included; None for all.
        output_attentions: Must be False.
        **_: What transformers passes to every attention function and this one has no use for.

    Returns:
        Float, shape (1, packed, heads, head size), and None for the weights.

    Raises:
        ValueError: The forward was called without `packed`, or asks for something that a packed forward lacks.
    """
    if packed is None or query.shape[0] != 1 or query.shape[2] != len(packed.layout):
        raise ValueError(f"{IMPLEMENTATION}: the model's forward needs the keywords of treepo.packing's model_inputs")
    if attention_mask is not None or dropout > 0 or output_attentions:
        raise ValueError(f"{IMPLEMENTATION}: no attention mask, dropout or attention weights beside a packed tree")
    if torch.is_autocast_enabled(query.device.type):
        # PyTorch's own attention is on autocast's list; a norm on queries and keys may have left them in float32.
        target = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(target), key.to(target), value.to(target)
    layout = packed.layout
    if flash.serves(query):
        tokens_first = (heads[0].transpose(0, 1) for heads in (query, key, value))
        output = flash_attention(*tokens_first, calls=packed.calls, scale=scaling, window=sliding_window)
        return output[None], None
    if query.device.type == "cpu" and sliding_window is None:
        output = chain_attention(query, key, value, layout=layout, scale=scaling)
    else:
        output = path_attention(query, key, value, layout=layout, scale=scaling, window=sliding_window)
    return output.transpose(1, 2).contiguous(), None


AttentionInterface.register(IMPLEMENTATION, packed_attention)
