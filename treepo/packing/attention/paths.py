"""Attention over a packed tree path by path: the queries of a chain against the keys of the whole path down to it.

A chain is a run of packed tokens of which each is the parent of the next. Its last query attends to all tokens of the
path from the root to the chain's end, the query before it to all but the last, and so on. That is causal attention of a
short query to a long key, aligned at the end, which flash attention computes for many sequences in one call. So the
queries stay as they are packed, only keys and values are gathered along the paths, and nothing is computed that is
masked afterwards.

Two rows, ``a b c d`` and ``a b e``, packed as ``a b c d e``::

    chain     queries    keys
    a b c d   a b c d    a b c d
    e         e          a b e

A gathered key costs memory traffic once per call and is small where key heads are few: the copies are given up after
the call and gathered again in the backward pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from treepo.packing.attention import flash
from treepo.packing.layout import Layout

MAX_KEYS = 65_536
"""Gathered keys of one flash call, unless a single path is longer; it bounds the memory of the copies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathCall:
    """Consecutive chains that one flash call computes.

    Attributes:
        start: The first packed token of its queries.
        stop: One past the last.
        keys: int64, shape (keys,), on the device: the packed tokens of the chains' paths, one path after the other.
        query_offsets: int32, shape (chains + 1,), on the device: where each chain begins among the queries.
        key_offsets: int32, shape (chains + 1,), on the device: where each path begins among the keys.
        longest_query: Tokens of the longest chain.
        longest_key: Tokens of the longest path.
    """

    start: int
    stop: int
    keys: Tensor
    query_offsets: Tensor
    key_offsets: Tensor
    longest_query: int
    longest_key: int


def plan_calls(layout: Layout, device: torch.device | str, *, max_keys: int = MAX_KEYS) -> tuple[PathCall, ...]:
    """Splits the chains of a layout, in order, into calls of at most `max_keys` gathered keys.

    Args:
        layout: The packed rows.
        device: Where the index tensors go.
        max_keys: Keys per call; a longer path is a call by itself.
    """
    bounds, keys = [0], 0
    for chain, length in enumerate(layout.path_lengths):
        if keys + length > max_keys and chain > bounds[-1]:
            bounds.append(chain)
            keys = 0
        keys += length
    bounds.append(len(layout.chains))
    path_starts = _offsets(layout.path_lengths).tolist()
    calls = []
    for first, last in pairwise(bounds):
        chains, lengths = layout.chains[first:last], layout.path_lengths[first:last]
        queries = [stop - start for start, stop in chains]
        calls.append(
            PathCall(
                start=chains[0][0],
                stop=chains[-1][1],
                keys=layout.paths[path_starts[first] : path_starts[last]].to(device),
                query_offsets=_offsets(queries).to(device),
                key_offsets=_offsets(lengths).to(device),
                longest_query=max(queries),
                longest_key=max(lengths),
            )
        )
    return tuple(calls)


def _offsets(lengths: Any) -> Tensor:
    return torch.tensor([0, *lengths], dtype=torch.int64).cumsum(0).to(torch.int32)


def flash_attention(
    query: Tensor, key: Tensor, value: Tensor, *, calls: tuple[PathCall, ...], scale: float, window: int | None = None
) -> Tensor:
    """Attention of every packed token to its ancestors and itself, by flash attention.

    Kept for the backward pass are the inputs, the output and one number per query and head.

    Args:
        query: bfloat16 or float16, shape (packed, heads, head size), on CUDA.
        key: Likewise, shape (packed, key heads, head size); key heads divides heads.
        value: Like `key`.
        calls: The chains, as `plan_calls` gives them.
        scale: The scores are multiplied by it.
        window: A token attends to this many tokens of its path, the last one itself; None for all.

    Returns:
        Like `query`.
    """
    return _FlashAttention.apply(query, key, value, calls, scale, window)


class _FlashAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        calls: tuple[PathCall, ...],
        scale: float,
        window: int | None,
    ) -> Tensor:
        output = torch.empty_like(query, memory_format=torch.contiguous_format)
        states: list[flash.State] = []
        for call in calls:
            own = slice(call.start, call.stop)
            part, state = flash.forward(
                query[own], key.index_select(0, call.keys), value.index_select(0, call.keys), call, scale, window
            )
            output[own] = part
            states.append(state)
        ctx.save_for_backward(query, key, value, output, *(tensor for state in states for tensor in state))
        ctx.calls, ctx.scale, ctx.window = calls, scale, window
        return output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        (grad_output,) = grad_outputs
        query, key, value, output, *rest = ctx.saved_tensors
        width = len(flash.State._fields)
        grad_query = torch.empty_like(query, memory_format=torch.contiguous_format)
        # What many rows send to one shared key is added up in float32.
        grad_key, grad_value = (torch.zeros(key.shape, dtype=torch.float32, device=key.device) for _ in range(2))
        for index, call in enumerate(ctx.calls):
            own = slice(call.start, call.stop)
            part, to_key, to_value = flash.backward(
                grad_output[own],
                query[own],
                key.index_select(0, call.keys),
                value.index_select(0, call.keys),
                output[own],
                flash.State(*rest[index * width : (index + 1) * width]),
                call,
                ctx.scale,
                ctx.window,
            )
            grad_query[own] = part
            grad_key.index_add_(0, call.keys, to_key.float())
            grad_value.index_add_(0, call.keys, to_value.float())
        return grad_query, grad_key.to(key.dtype), grad_value.to(value.dtype), None, None, None


def path_attention(
    query: Tensor, key: Tensor, value: Tensor, *, layout: Layout, scale: float, window: int | None = None
) -> Tensor:
    """The same by PyTorch's public attention, one call per chain: any device, precision and head size, but slower.

    Args:
        query: Float, shape (1, heads, packed, head size).
        key: Float, shape (1, key heads, packed, head size); key heads divides heads.
        value: Like `key`.
        layout: The packed rows.
        scale: The scores are multiplied by it.
        window: A token attends to this many tokens of its path, the last one itself; None for all.

    Returns:
        Like `query`.
    """
    repeats = query.shape[1] // key.shape[1]
    outputs = []
    for (start, stop), path in zip(layout.chains, _paths(layout), strict=True):
        queries = stop - start
        seen = path if window is None else path[max(0, len(path) - queries - window + 1) :]
        index = seen.to(query.device)
        keys, values = (heads.index_select(2, index).repeat_interleave(repeats, 1) for heads in (key, value))
        bias: Any = causal_lower_right(queries, len(seen))
        if window is not None:
            ahead = torch.arange(queries)[:, None] + len(seen) - queries - torch.arange(len(seen))
            bias = ((ahead >= 0) & (ahead < window)).to(query.device)
        outputs.append(scaled_dot_product_attention(query[:, :, start:stop], keys, values, attn_mask=bias, scale=scale))
    return torch.cat(outputs, dim=2)


def _paths(layout: Layout) -> Iterator[Tensor]:
    yield from layout.paths.split(list(layout.path_lengths))
