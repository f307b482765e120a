"""Attention over a packed tree path by path: the queries of a chain against the keys of the whole path down to it.

A chain is a run of packed tokens of which each is the parent of the next; one of several ranks has pieces of chains.
Its last query attends to all tokens of the path from the root to the chain's end, the query before it to all but the
last, and so on. That is causal attention of a short query to a long key, aligned at the end, which flash attention
computes for many sequences in one call. So the queries stay as they are packed, only keys and values are gathered along
the paths, and nothing is computed that is masked afterwards.

Two rows, ``a b c d`` and ``a b e``, packed as ``a b c d e``::

    chain     queries    keys
    a b c d   a b c d    a b c d
    e         e          a b e

A gathered key costs memory traffic once per call and is small where key heads are few: the copies are given up after
the call and gathered again in the backward pass.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from treepo.packing.attention import flash
from treepo.packing.token_shares import TokenShare

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


def plan_calls(share: TokenShare, device: torch.device | str, *, max_keys: int = MAX_KEYS) -> tuple[PathCall, ...]:
    """Splits the chains of a share, in order, into calls of at most `max_keys` gathered keys.

    Args:
        share: The queries, and what they attend to.
        device: Where the index tensors go.
        max_keys: Keys per call; a longer path is a call by itself.
    """
    bounds, keys = [0], 0
    for chain, length in enumerate(share.path_lengths):
        if keys + length > max_keys and chain > bounds[-1]:
            bounds.append(chain)
            keys = 0
        keys += length
    bounds.append(len(share.runs))
    path_starts = _offsets(share.path_lengths).tolist()
    calls = []
    for first, last in pairwise(bounds):
        chains, lengths = share.runs[first:last], share.path_lengths[first:last]
        queries = [stop - start for start, stop in chains]
        calls.append(
            PathCall(
                start=chains[0][0],
                stop=chains[-1][1],
                keys=share.paths[path_starts[first] : path_starts[last]].to(device),
                query_offsets=_offsets(queries).to(device),
                key_offsets=_offsets(lengths).to(device),
                longest_query=max(queries),
                longest_key=max(lengths),
            )
        )
    return tuple(calls)


def _offsets(lengths: Any) -> Tensor:
    return torch.tensor([0, *lengths], dtype=torch.int64).cumsum(0).to(torch.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashKernel:
    """The kernel for bfloat16 and float16 on CUDA (`treepo.packing.attention.kernel.Kernel`).

    Attributes:
        calls: The chains, as `plan_calls` gives them.
        scale: The scores are multiplied by it.
        window: A token attends to this many tokens of its path, the last one itself; None for all.
    """

    calls: tuple[PathCall, ...]
    scale: float
    window: int | None = None

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output, and the kernel's state of every call."""
        output = torch.empty_like(query, memory_format=torch.contiguous_format)
        kept: list[Tensor] = []
        for call in self.calls:
            own = slice(call.start, call.stop)
            keys, values = (heads.index_select(0, call.keys) for heads in (key, value))
            output[own], state = flash.forward(query[own], keys, values, call, self.scale, self.window)
            kept += state
        return output, tuple(kept)

    def backward(
        self, grad_output: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, kept: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of query, key and value."""
        width = len(flash.State._fields)
        grad_query = torch.empty_like(query, memory_format=torch.contiguous_format)
        # What many rows send to one shared key is added up in float32.
        grad_key, grad_value = (torch.zeros(key.shape, dtype=torch.float32, device=key.device) for _ in range(2))
        for index, call in enumerate(self.calls):
            own = slice(call.start, call.stop)
            grad_query[own], to_key, to_value = flash.backward(
                grad_output[own],
                query[own],
                key.index_select(0, call.keys),
                value.index_select(0, call.keys),
                output[own],
                flash.State(*kept[index * width : (index + 1) * width]),
                call,
                self.scale,
                self.window,
            )
            grad_key.index_add_(0, call.keys, to_key.float())
            grad_value.index_add_(0, call.keys, to_value.float())
        return grad_query, grad_key, grad_value


def path_attention(
    query: Tensor, key: Tensor, value: Tensor, *, share: TokenShare, scale: float, window: int | None = None
) -> Tensor:
    """The same by PyTorch's public attention, one call per chain: any device, precision and head size, but slower.

    Args:
        query: Float, shape (queries, heads, head size).
        key: Float, shape (packed, key heads, head size); key heads divides heads.
        value: Like `key`.
        share: The queries, and what they attend to.
        scale: The scores are multiplied by it.
        window: A token attends to this many tokens of its path, the last one itself; None for all.

    Returns:
        Like `query`.
    """
    repeats = query.shape[1] // key.shape[1]
    outputs = []
    for (start, stop), path in zip(share.runs, share.paths.split(list(share.path_lengths)), strict=True):
        queries = stop - start
        seen = path if window is None else path[max(0, len(path) - queries - window + 1) :]
        index = seen.to(query.device)
        keys, values = (heads.index_select(0, index).repeat_interleave(repeats, 1) for heads in (key, value))
        bias: Any = causal_lower_right(queries, len(seen))
        if window is not None:
            ahead = torch.arange(queries)[:, None] + len(seen) - queries - torch.arange(len(seen))
            bias = ((ahead >= 0) & (ahead < window)).to(query.device)
        heads_first = (heads.transpose(0, 1)[None] for heads in (query[start:stop], keys, values))
        part = scaled_dot_product_attention(*heads_first, attn_mask=bias, scale=scale)
        outputs.append(part[0].transpose(0, 1))
    return torch.cat(outputs)
