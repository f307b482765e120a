"""The block mask of a packed tree for FlexAttention."""

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

BLOCK = 128


def block_mask(ends: Tensor) -> BlockMask:
    """Which blocks of keys each block of queries reads, straight from the ends of the subtrees.

    Token q attends to k where ``k <= q < ends[k]``. Below the diagonal a block holds such a pair if the largest end of
    its keys lies behind its first query, and holds nothing else if the smallest lies behind its last. So the mask is
    exact, and takes (packed / 128)^2 comparisons instead of packed^2.

    Args:
        ends: int64, shape (packed,), on the model's device; packed is a multiple of 128.

    Returns:
        A mask for one sequence and all heads. Blocks outside the ancestors are never computed, and those inside them
        need no test per token.

    Raises:
        ValueError: The number of tokens is not a multiple of 128.
    """
    if len(ends) % BLOCK:
        raise ValueError(f"packing: FlexAttention needs a multiple of {BLOCK} packed tokens, got {len(ends)}")
    by_block = ends.view(-1, BLOCK)
    blocks = torch.arange(len(by_block), device=ends.device)
    first_query = blocks[:, None] * BLOCK
    below = blocks[:, None] > blocks
    full = below & (by_block.amin(1) >= first_query + BLOCK)
    partial = (below & (by_block.amax(1) > first_query) & ~full) | (blocks[:, None] == blocks)

    def attends(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < ends[key])

    return BlockMask.from_kv_blocks(
        *_listed(partial), *_listed(full), BLOCK_SIZE=BLOCK, mask_mod=attends, seq_lengths=(len(ends), len(ends))
    )


def _listed(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Per row of blocks how many are chosen, and which: those first; int32, with axes for batch and heads."""
    counts = chosen.sum(-1, dtype=torch.int32)
    which = chosen.to(torch.int8).argsort(dim=-1, descending=True, stable=True).to(torch.int32)
    return counts[None, None], which[None, None].contiguous()
