"""Packed trees in the models of transformers, through its attention interface; importing this registers it."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PretrainedConfig

from treepo.packing.attention import flash
from treepo.packing.attention.chains import ChainKernel
from treepo.packing.attention.kernel import attend
from treepo.packing.attention.paths import FlashKernel, path_attention, plan_calls
from treepo.packing.exchange import Exchange
from treepo.packing.layout import Layout
from treepo.packing.token_shares import whole_share

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
        share: What is computed here: all packed tokens, or one rank's.
        exchange: The way to the other ranks' keys; None on one rank.
        calls: The calls of flash attention, planned once for all layers; empty on the CPU.
    """

    __slots__ = ("calls", "exchange", "share")

    def __init__(self, layout: Layout, device: torch.device | str, *, exchange: Exchange | None = None) -> None:
        self.exchange = exchange
        self.share = whole_share(layout) if exchange is None else exchange.share
        self.calls = () if torch.device(device).type == "cpu" else plan_calls(self.share, device)


def model_inputs(layout: Layout, device: torch.device | str, *, exchange: Exchange | None = None) -> dict[str, Any]:
    """The keywords of the model's forward for one micro-batch, which is one sequence; to go with ``use_cache=False``.

    Args:
        layout: The packed rows.
        device: The model's.
        exchange: For one of several ranks, whose sequence is its share of the packed tokens.
    """
    packed = PackedAttention(layout, device, exchange=exchange)
    return {
        "input_ids": layout.tokens[packed.share.places][None].to(device),
        "position_ids": layout.positions[packed.share.places][None].to(device),
        "attention_mask": None,
        "packed": packed,
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
        query: Float, shape (1, heads, queries, head size).
        key: Float, shape (1, key heads, queries, head size).
        value: Like `key`.
        attention_mask: Must be None.
        packed: The micro-batch.
        scaling: The scores are multiplied by it.
        dropout: Must be 0.
        sliding_window: A token attends to this many tokens of its path, itself included; None for all.
        output_attentions: Must be False.
        **_: What transformers passes to every attention function and this one has no use for.

    Returns:
        Float, shape (1, queries, heads, head size), and None for the weights.

    Raises:
        ValueError: The forward was called without `packed`, or asks for something that a packed forward lacks.
    """
    if packed is None or query.shape[0] != 1 or query.shape[2] != len(packed.share):
        raise ValueError(f"{IMPLEMENTATION}: the model's forward needs the keywords of treepo.packing's model_inputs")
    if attention_mask is not None or dropout > 0 or output_attentions:
        raise ValueError(f"{IMPLEMENTATION}: no attention mask, dropout or attention weights beside a packed tree")
    if torch.is_autocast_enabled(query.device.type):
        # PyTorch's own attention is on autocast's list; a norm on queries and keys may have left them in float32.
        target = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(target), key.to(target), value.to(target)
    query, key, value = (heads[0].transpose(0, 1) for heads in (query, key, value))
    share, exchange = packed.share, packed.exchange
    if flash.serves(query):
        kernel = FlashKernel(calls=packed.calls, scale=scaling, window=sliding_window)
        output = attend(query, key, value, kernel=kernel, exchange=exchange)
    elif query.device.type == "cpu" and sliding_window is None:
        output = attend(query, key, value, kernel=ChainKernel(share=share, scale=scaling), exchange=exchange)
    else:
        if exchange is not None:
            key, value = exchange.gather_with_gradient(key, value)
        output = path_attention(query, key, value, share=share, scale=scaling, window=sliding_window)
    return output[None], None


AttentionInterface.register(IMPLEMENTATION, packed_attention)
