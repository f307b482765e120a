"""What the ranks that share one packed sequence hand each other: keys and values, and the scores of the labels."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from treepo.packing.layout import Layout
from treepo.packing.read_out import Labels, ReadOut, share_labels
from treepo.packing.token_shares import Sharing, TokenShare, share_tokens

# torch 2.13 renamed both, with the same arguments; 2.11, which the GPU set has, knows the older names alone.
_all_gather: Callable[..., Any] = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter: Callable[..., Any] = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


class Exchange:
    """One micro-batch on several ranks, seen from one of them.

    Every rank of the group must have laid out the same rows, and must run the same forward and backward passes. The
    loss must be the same function of all scores on every rank, and gradients of weights be averaged over the ranks, as
    FSDP does.

    Deliberately not a dataclass, so that FSDP passes it through unchanged.

    Attributes:
        group: The ranks.
        rank: This one's number in the group.
        sharing: Who computes which tokens.
        share: What this one computes.
        labels: What this one scores, on the device; its positions are the forward's ``logits_to_keep``.
        label_slots: int64, shape (labels,), on the device: where the labels of the read-out stand among the scores of
            all ranks.
        most_labels: Labels of the rank that has most, at least 1; each hands on as many scores.
    """

    group: dist.ProcessGroup
    rank: int
    sharing: Sharing
    share: TokenShare
    labels: Labels
    label_slots: Tensor
    most_labels: int

    def __init__(
        self,
        group: dist.ProcessGroup,
        layout: Layout,
        readout: ReadOut,
        device: torch.device | str,
        *,
        block: int | None = None,
    ) -> None:
        """Shares a micro-batch out.

        Args:
            group: The ranks.
            layout: The packed rows.
            readout: Their labels, on the CPU.
            device: The model's.
            block: As in `share_tokens`.
        """
        self.group, self.rank = group, dist.get_rank(group)
        self.sharing = share_tokens(layout, ranks=dist.get_world_size(group), block=block)
        self.share = self.sharing.shares[self.rank]
        labels = share_labels(readout, self.sharing)
        self.labels = labels.parts[self.rank].to(device)
        self.label_slots, self.most_labels = labels.slots.to(device), labels.size
        self._slots = self.sharing.slots.to(device)

    @property
    def ranks(self) -> int:
        """How many ranks share the micro-batch."""
        return len(self.sharing.shares)

    def gather(self, *own: Tensor) -> tuple[Tensor, ...]:
        """All ranks' entries, in the order of the packed tokens, in one exchange; no gradient goes back.

        Args:
            *own: Of one type, each shape (queries, heads, any size), of this rank's queries.

        Returns:
            Each shape (packed, heads, its size).
        """
        whole = self.all_of(torch.cat(own, -1)).index_select(0, self._slots)
        return whole.split([part.shape[-1] for part in own], -1)

    def reduce(self, *whole: Tensor) -> tuple[Tensor, ...]:
        """The other way: what all ranks have for this rank's tokens, added up.

        Args:
            *whole: Of one type, each shape (packed, heads, any size).

        Returns:
            Each shape (queries, heads, its size); zero for a copy.
        """
        size, widths = len(self.share), [part.shape[-1] for part in whole]
        by_rank = whole[0].new_zeros(self.ranks * size, *whole[0].shape[1:-1], sum(widths))
        for part, out in zip(whole, by_rank.split(widths, -1), strict=True):
            out.index_copy_(0, self._slots, part)
        own = torch.empty_like(by_rank[:size])
        _reduce_scatter(own, by_rank, group=self.group)
        return own.split(widths, -1)

    def gather_with_gradient(self, *own: Tensor) -> tuple[Tensor, ...]:
        """`gather`, with `reduce` in the backward pass."""
        return _Gather.apply(self, *own)

    def join(self, own: Tensor) -> Tensor:
        """The scores of all labels, from every rank's own.

        The gradient of each must count once in the mean over the ranks, so a rank sends back to its own scores their
        gradient times the number of ranks.

        Args:
            own: Float, shape (scores, own labels), of this rank's labels.

        Returns:
            Shape (scores, labels), in the order of the read-out.
        """
        return _Join.apply(own, self)

    def all_of(self, own: Tensor) -> Tensor:
        """All ranks' tensors of one shape, put one behind the other."""
        out = own.new_empty(self.ranks * len(own), *own.shape[1:])
        _all_gather(out, own.contiguous(), group=self.group)
        return out


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, exchange: Exchange, *own: Tensor) -> tuple[Tensor, ...]:
        ctx.exchange = exchange
        # Outputs of one function may not be views of one tensor.
        return tuple(whole.contiguous() for whole in exchange.gather(*own))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        exact = torch.promote_types(grad_outputs[0].dtype, torch.float32)
        own = ctx.exchange.reduce(*(grad.to(exact) for grad in grad_outputs))
        return None, *(part.to(grad.dtype) for part, grad in zip(own, grad_outputs, strict=True))


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, exchange: Exchange) -> Tensor:
        filled = own.new_zeros(exchange.most_labels, len(own))
        filled[: own.shape[1]] = own.T
        ctx.exchange, ctx.own = exchange, own.shape[1]
        return exchange.all_of(filled).index_select(0, exchange.label_slots).T.contiguous()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (grad,) = grad_outputs
        exchange: Exchange = ctx.exchange
        filled = grad.new_zeros(exchange.ranks * exchange.most_labels, len(grad))
        filled.index_copy_(0, exchange.label_slots, grad.T)
        first = exchange.rank * exchange.most_labels
        return filled[first : first + ctx.own].T * exchange.ranks, None
