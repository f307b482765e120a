"""PyTorch's own flash attention over sequences of unequal lengths, forward and backward.

`torch.nn.attention.varlen` is the public function over these operators, but its arguments for grouped heads differ
between torch 2.11 and 2.13, and it gathers nothing. The operators have one signature in both (checked against torch
2.11.0 and 2.13.0; ``tests/seams/test_torch_seams.py`` holds it).
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from treepo.packing.attention.paths import PathCall

MAX_HEAD_SIZE = 256


class State(NamedTuple):
    """What the backward pass needs of a forward call beside its inputs and its output.

    Attributes:
        log_sums: Float32, shape (heads, queries), the log-sum-exp of every query's scores.
        rng_state: The kernel's; unused without dropout.
        unused: The kernel's.
    """

    log_sums: Tensor
    rng_state: Tensor
    unused: Tensor


def serves(query: Tensor) -> bool:
    """Whether the kernel takes these queries: half precision, heads of at most 256, an Ampere GPU or a newer one."""
    return (
        query.device.type == "cuda"
        and query.dtype in (torch.bfloat16, torch.float16)
        and query.shape[-1] <= MAX_HEAD_SIZE
        and query.shape[-1] % 8 == 0
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


def forward(
    query: Tensor, key: Tensor, value: Tensor, call: "PathCall", scale: float, window: int | None
) -> tuple[Tensor, State]:
    """Causal attention aligned at the end, sequence by sequence.

    Args:
        query: Shape (queries, heads, head size).
        key: Shape (keys, key heads, head size), gathered along the paths.
        value: Like `key`.
        call: Where the sequences begin.
        scale: The scores are multiplied by it.
        window: Tokens that a query attends to, itself included; None for all.

    Returns:
        The output, like `query`, and what `backward` needs.
    """
    output, log_sums, rng_state, unused, _ = torch.ops.aten._flash_attention_forward(
        query,
        key,
        value,
        call.query_offsets,
        call.key_offsets,
        call.longest_query,
        call.longest_key,
        0.0,
        True,
        False,
        scale=scale,
        window_size_left=_left(window),
        window_size_right=0,
    )
    return output, State(log_sums, rng_state, unused)


def backward(
    grad_output: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    state: State,
    call: "PathCall",
    scale: float,
    window: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `forward`'s query, key and value.

    Args:
        grad_output: Like `output`.
        query: As in `forward`.
        key: As in `forward`.
        value: As in `forward`.
        output: What `forward` returned.
        state: What `forward` returned.
        call: As in `forward`.
        scale: As in `forward`.
        window: As in `forward`.
    """
    return torch.ops.aten._flash_attention_backward(
        grad_output.contiguous(),
        query,
        key,
        value,
        output,
        state.log_sums,
        call.query_offsets,
        call.key_offsets,
        call.longest_query,
        call.longest_key,
        0.0,
        True,
        state.rng_state,
        state.unused,
        scale=scale,
        window_size_left=_left(window),
        window_size_right=0,
    )


def _left(window: int | None) -> int:
    return -1 if window is None else window - 1
