"""Attention over a packed tree on the CPU, chain by chain: no mask, and no pair of tokens is computed in vain.

A chain (tokens that descend from each other) is ordinary causal attention. What hangs off a chain attends to all of
the chain's tokens up to the fork, which is ordinary full attention of a slice of queries to a slice of keys. Each gives
an output and its log-sum-exp; a query's parts are joined by these, as in ring attention. PyTorch hands the log-sum-exp
out only through the kernel below its public function, which is why that is called here; it has the same name and
meaning in torch 2.3 to 2.13.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from treepo.packing.token_shares import TokenShare

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainKernel:
    """The kernel for tensors on the CPU (`treepo.packing.attention.kernel.Kernel`).

    Attributes:
        share: The queries, and what they attend to.
        scale: The scores are multiplied by it.
    """

    share: TokenShare
    scale: float

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output, and every query's log-sum-exp."""
        exact = torch.promote_types(query.dtype, torch.float32)
        # The heads of a token side by side, as the layer behind wants them: it need not copy, and so keep, them again.
        result = torch.empty(query.shape, dtype=exact)
        query, key, value, output = (_heads_first(heads) for heads in (query, key, value, result))
        normaliser = torch.empty(query.shape[:-1], dtype=exact)
        for first, last, start, stop, causal in self.share.spans:
            asking, asked = slice(first, last), slice(start, stop)
            part, log_sum = _forward(
                query[:, :, asking], key[:, :, asked], value[:, :, asked], 0.0, causal, scale=self.scale
            )
            if causal:
                output[:, :, asking], normaliser[:, :, asking] = part, log_sum
            else:
                _join(output[:, :, asking], normaliser[:, :, asking], part, log_sum)
        return result.to(query.dtype), (normaliser,)

    def backward(
        self, grad_output: Tensor, query: Tensor, key: Tensor, value: Tensor, output: Tensor, kept: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of query, key and value."""
        (normaliser,) = kept
        grads = [torch.zeros(heads.shape, dtype=normaliser.dtype) for heads in (query, key, value)]
        totals = [_heads_first(grad) for grad in grads]
        grad_output, query, key, value, output = map(_heads_first, (grad_output, query, key, value, output))
        for first, last, start, stop, causal in self.share.spans:
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
                scale=self.scale,
            )
            for total, part, where in zip(totals, parts, (asking, asked, asked), strict=True):
                total[:, :, where] += part
        grad_query, grad_key, grad_value = grads
        return grad_query.to(query.dtype), grad_key, grad_value


def _heads_first(tensor: Tensor) -> Tensor:
    """A view of shape (tokens, heads, head size) as the kernel wants it, (1, heads, tokens, head size)."""
    return tensor.transpose(0, 1)[None]


def _join(output: Tensor, normaliser: Tensor, part: Tensor, log_sum: Tensor) -> None:
    """Adds attention to more keys to what a query has so far, in place."""
    both = torch.logaddexp(normaliser, log_sum)
    output.mul_((normaliser - both).exp_().unsqueeze(-1)).addcmul_(
        part.to(output.dtype), (log_sum - both).exp_().unsqueeze(-1)
    )
    normaliser.copy_(both)
