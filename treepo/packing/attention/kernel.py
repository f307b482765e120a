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
        keys, values = (key, value) if exchange is None else exchange.gather(key, value)
        output, kept = kernel.forward(query, keys, values)
        ctx.save_for_backward(query, key, value, output, *kept)
        ctx.kernel, ctx.exchange = kernel, exchange
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, output, *kept = ctx.saved_tensors
        exchange: Exchange | None = ctx.exchange
        keys, values = (key, value) if exchange is None else exchange.gather(key, value)
        grads = ctx.kernel.backward(grad_outputs[0], query, keys, values, output, tuple(kept))
        grad_query, grad_key, grad_value = grads
        if exchange is not None:
            grad_key, grad_value = exchange.reduce(grad_key, grad_value)
        return grad_query, grad_key.to(key.dtype), grad_value.to(value.dtype), None, None
