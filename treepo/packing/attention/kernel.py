"""Attention of queries to gathered keys as one step of autograd, whatever computes it and on however many ranks."""

from typing import Any, Protocol

import torch
from torch import Tensor

from treepo.packing.exchange import Exchange


class Kernel(Protocol):
    """Computes attention of a share's queries to the packed keys, forward and backward, without autograd."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output, and what the backward pass needs beside it.

        Args:
            query: Float, shape (queries, heads, head size).
            key: Float, shape (packed, key heads, head size); key heads divides heads.
            value: Like `key`.
        """
        ...

    def backward(
        self, grad_output: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, kept: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of query, key and value; the latter two, which are sums, in float32 at least."""
        ...


def attend(query: Tensor, key: Tensor, value: Tensor, *, kernel: Kernel, exchange: Exchange | None = None) -> Tensor:
    """Attention of every query to its ancestors and itself.

    Only the inputs, the output and one number per query and head are kept for the backward pass. With other ranks that
    is the own share of them: keys and values are gathered again there, and given up after each pass.

    Args:
        query: Float, shape (queries, heads, head size).
        key: Float, shape (queries, key heads, head size); key heads divides heads.
        value: Like `key`.
        kernel: What computes it.
        exchange: The way to the keys of other ranks; None where the queries are all packed tokens.

    Returns:
        Like `query`.
    """
    return _Attention.apply(query, key, value, kernel, exchange)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, kernel: Kernel, exchange: Exchange | None
    ) -> Tensor:
        output, kept = kernel.forward(query, *_gathered(key, value, exchange))
        ctx.save_for_backward(query, key, value, output, *kept)
        ctx.kernel, ctx.exchange = kernel, exchange
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, output, *kept = ctx.saved_tensors
        keys, values = _gathered(key, value, ctx.exchange)
        grad_query, grad_key, grad_value = ctx.kernel.backward(
            grad_outputs[0], query, keys, values, output, tuple(kept)
        )
        if ctx.exchange is not None:
            both = ctx.exchange.reduce(torch.cat([grad_key, grad_value], -1))
            grad_key, grad_value = both.split([key.shape[-1], value.shape[-1]], -1)
        return grad_query, grad_key.to(key.dtype), grad_value.to(value.dtype), None, None


def _gathered(key: Tensor, value: Tensor, exchange: Exchange | None) -> tuple[Tensor, Tensor]:
    """All packed tokens' keys and values, in one exchange."""
    if exchange is None:
        return key, value
    keys, values = exchange.gather(torch.cat([key, value], -1)).split([key.shape[-1], value.shape[-1]], -1)
    return keys, values
