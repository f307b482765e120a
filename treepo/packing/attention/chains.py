"""Attention over a packed tree on the CPU, chain by chain: no mask, and no pair of tokens is computed in vain.

A chain (tokens that descend from each other) is ordinary causal attention. What hangs off a chain attends to all of
the chain's tokens up to the fork, which is ordinary full attention of a slice of queries to a slice of keys. Each gives
an output and its log-sum-exp; a query's parts are joined by these, as in ring attention. PyTorch hands the log-sum-exp
out only through the kernel below its public function, which is why that is called here; it has the same name and
meaning in torch 2.3 to 2.13.
"""

from typing import Any

import torch
from torch import Tensor

from treepo.packing.layout import Layout

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


def chain_attention(query: Tensor, key: Tensor, value: Tensor, *, layout: Layout, scale: float) -> Tensor:
    """Attention of every packed token to its ancestors and itself.

    Only the inputs, the output and one number per query and head are kept for the backward pass.

    Args:
        query: Float, shape (1, heads, packed, head size), on the CPU.
        key: Float, shape (1, key heads, packed, head size); key heads divides heads.
        value: Like `key`.
        layout: The packed rows.
        scale: The scores are multiplied by it.

    Returns:
        Like `query`.
    """
    return _ChainAttention.apply(query, key, value, layout, scale)


class _ChainAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
        exact = torch.promote_types(query.dtype, torch.float32)
        # The heads of a token side by side, as the layer behind wants them: it need not copy, and so keep, them again.
        tokens_first = (query.shape[0], query.shape[2], query.shape[1], query.shape[3])
        output = torch.empty(tokens_first, dtype=exact).transpose(1, 2)
        normaliser = torch.empty(query.shape[:-1], dtype=exact)
        for start, stop in layout.chains:
            own = slice(start, stop)
            part, log_sum = _forward(query[:, :, own], key[:, :, own], value[:, :, own], 0.0, True, scale=scale)
            output[:, :, own], normaliser[:, :, own] = part, log_sum
        for first, last, start, stop in layout.links:
            asking, asked = slice(first, last), slice(start, stop)
            part, log_sum = _forward(query[:, :, asking], key[:, :, asked], value[:, :, asked], 0.0, False, scale=scale)
            _join(output[:, :, asking], normaliser[:, :, asking], part, log_sum)
        output = output.to(query.dtype)
        ctx.save_for_backward(query, key, value, output, normaliser)
        ctx.layout, ctx.scale = layout, scale
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        (grad_output,) = grad_outputs
        query, key, value, output, normaliser = ctx.saved_tensors
        grads = [torch.zeros(tensor.shape, dtype=normaliser.dtype) for tensor in (query, key, value)]
        spans = [(*chain, *chain, True) for chain in ctx.layout.chains]
        spans += [(*link, False) for link in ctx.layout.links]
        for first, last, start, stop, causal in spans:
            asking, asked = slice(first, last), slice(start, stop)
            # With the joined output and log-sum-exp the kernel gives this part's share of the joined gradient.
            parts = _backward(
                grad_output[:, :, asking],
                query[:, :, asking],
                key[:, :, asked],
                value[:, :, asked],
                output[:, :, asking],
                normaliser[:, :, asking],
                0.0,
                causal,
                scale=ctx.scale,
            )
            for total, part, where in zip(grads, parts, (asking, asked, asked), strict=True):
                total[:, :, where] += part
        grad_query, grad_key, grad_value = (grad.to(query.dtype) for grad in grads)
        return grad_query, grad_key, grad_value, None, None


def _join(output: Tensor, normaliser: Tensor, part: Tensor, log_sum: Tensor) -> None:
    """Adds attention to more keys to what a query has so far, in place."""
    both = torch.logaddexp(normaliser, log_sum)
    output.mul_((normaliser - both).exp_().unsqueeze(-1)).addcmul_(
        part.to(output.dtype), (log_sum - both).exp_().unsqueeze(-1)
    )
    normaliser.copy_(both)
