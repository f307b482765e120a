"""From the hidden states of packed tokens to log-probs and entropies of labels, without whole logits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from treepo.packing.read_out import Labels

CHUNK_LOGITS = 2**27
"""Logits held at a time: 0.5 GiB in float32, 882 positions of a vocabulary of 152,064."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScores:
    """What the model says about each label.

    Attributes:
        log_probs: Float32, shape (labels,), log-prob of the label.
        entropies: Float32, shape (labels,), entropy of the distribution that the label was drawn from, in nats; None
            where it was not asked for.
    """

    log_probs: Tensor
    entropies: Tensor | None


def score_labels(
    hidden: Tensor,
    weight: Tensor,
    readout: Labels,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    chunk_tokens: int | None = None,
) -> LabelScores:
    """Log-probs of the labels, and entropies, from the last hidden states; the logits of all tokens are never held.

    The logits are computed `chunk_tokens` positions at a time, and again in the backward pass, which adds up what the
    rows ask of a shared token. The softmax is taken in float32 at least. A vocabulary of 152,064 and 16,384 positions
    would make 4.6 GiB of logits in bfloat16, and as much for their gradient.

    Args:
        hidden: Float, shape (read, hidden size), the model's last hidden states at ``readout.positions``.
        weight: Float, shape (vocabulary, hidden size), the output head's.
        readout: The read-out or one rank's labels, on the same device.
        temperature: The logits are divided by it.
        entropy: Whether entropies are wanted.
        chunk_tokens: Positions whose logits are held at a time; by default as many as make `CHUNK_LOGITS` logits.

    Raises:
        ValueError: The hidden states are not those of the read-out's positions.
    """
    if hidden.dim() != 2 or len(hidden) != len(readout.positions):
        raise ValueError(
            f"packing: expected hidden states of {len(readout.positions)} positions, got shape {tuple(hidden.shape)}"
        )
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        target = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(target), weight.to(target)
    chunk = chunk_tokens or max(1, CHUNK_LOGITS // len(weight))
    log_probs, entropies = _ScoreLabels.apply(hidden, weight, readout, 1.0 / temperature, entropy, chunk)
    return LabelScores(log_probs=log_probs, entropies=entropies.index_select(0, readout.sources) if entropy else None)


@contextmanager
def scores_for_logits(
    head: nn.Module, readout: Labels, *, temperature: float = 1.0, entropy: bool = False
) -> Iterator[None]:
    """Within it a model's output head gives scores of the labels where it would give logits.

    So the model's forward returns as ``logits`` float32, shape (labels,), or (2, labels) with entropies behind the
    log-probs. The head computes them inside the model's forward, where FSDP has its weight at hand.

    Args:
        head: The model's output head, a linear layer without bias.
        readout: The read-out or one rank's labels, on the model's device; its positions are the forward's
            ``logits_to_keep``.
        temperature: As in `score_labels`.
        entropy: Whether entropies are wanted.

    Raises:
        ValueError: The head is something else, such as a linear layer with an adapter.
    """
    if reason := _head_obstacle(head):
        raise ValueError(f"treepo.packing does not support {reason}; train row by row")
    weight_of: Any = head

    def forward(hidden: Tensor) -> Tensor:
        scores = score_labels(
            hidden.flatten(0, -2), weight_of.weight, readout, temperature=temperature, entropy=entropy
        )
        return scores.log_probs if scores.entropies is None else torch.stack([scores.log_probs, scores.entropies])

    assert "forward" not in vars(head), "one forward of a head at a time"
    head.forward = forward
    try:
        yield
    finally:
        del head.forward


def _head_obstacle(head: nn.Module) -> str | None:
    """What about a model's output head the read-out would not compute exactly; None if nothing."""
    if not isinstance(head, nn.Linear):
        return f"an output head of type {type(head).__name__} (an adapter on lm_head?)"
    return "an output head with a bias" if head.bias is not None else None


class _ScoreLabels(torch.autograd.Function):
    """The head and the softmax by hand.

    With p the softmax of the scaled logits x, H its entropy and g the gradients that arrive,

    d x = sum over the labels y of g_y (onehot(y) - p)  -  g_H p (log p + H).
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, readout: Labels, scale: float, entropy: bool, chunk: int
    ) -> tuple[Tensor, Tensor]:
        exact = torch.promote_types(hidden.dtype, torch.float32)
        entropies = torch.zeros(len(hidden), dtype=exact, device=hidden.device)
        log_probs = torch.empty(len(readout.labels), dtype=exact, device=hidden.device)
        logits = None
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            logits = _logits(hidden[part], weight)
            log_p = _log_softmax(logits, scale, exact)
            own, sources = _labels_of(readout, part)
            log_probs[own] = log_p[sources, readout.labels[own]]
            if entropy:
                entropies[part] = -(log_p.exp() * log_p).sum(-1)
        # One chunk alone is kept: it is within the bound, and a small vocabulary would gain nothing by the second pass.
        ctx.save_for_backward(hidden, weight, entropies, logits if len(hidden) <= chunk else None)
        ctx.readout, ctx.scale, ctx.entropy, ctx.chunk = readout, scale, entropy, chunk
        return log_probs, entropies

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, Tensor | None, None, None, None, None]:
        grad_log_probs, grad_entropies = (grad * ctx.scale for grad in grad_outputs)
        hidden, weight, entropies, kept = ctx.saved_tensors
        readout = ctx.readout
        totals = torch.zeros_like(entropies).index_add_(0, readout.sources, grad_log_probs)
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=entropies.dtype) if ctx.needs_input_grad[1] else None
        for start in range(0, len(hidden), ctx.chunk):
            part = slice(start, start + ctx.chunk)
            logits = _logits(hidden[part], weight) if kept is None else kept
            log_p = _log_softmax(logits, ctx.scale, entropies.dtype)
            # Shape (chunk, 1) without entropy, (chunk, vocabulary) with it.
            share = -totals[part, None]
            if ctx.entropy:
                share = (log_p + entropies[part, None]).mul_(-grad_entropies[part, None]).add_(share)
            change = log_p.exp_().mul_(share)
            own, sources = _labels_of(readout, part)
            change[sources, readout.labels[own]] += grad_log_probs[own]
            grad_logits = change.to(hidden.dtype)
            grad_hidden[part] = grad_logits @ weight
            if grad_weight is not None:
                _add_product(grad_weight, grad_logits, hidden[part])
        return grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype), None, None, None, None


def _log_softmax(logits: Tensor, scale: float, exact: torch.dtype) -> Tensor:
    if scale != 1.0:
        logits = logits.to(exact) * scale
    return torch.log_softmax(logits, -1, dtype=exact)


def _logits(hidden: Tensor, weight: Tensor) -> Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        return hidden @ weight.T


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Adds the transposed left matrix times the right one, in the precision of the total."""
    if left.dtype == total.dtype:
        total.addmm_(left.T, right)
    elif left.device.type == "cuda":
        torch.addmm(total, left.T, right, out_dtype=total.dtype, out=total)
    else:
        total += left.T @ right


def _labels_of(readout: Labels, part: slice) -> tuple[slice, Tensor]:
    """The labels of some positions, and the position of each, counted from the first; no two share both."""
    first, stop = (readout.first_labels[min(at, len(readout.first_labels) - 1)] for at in (part.start, part.stop))
    return slice(first, stop), readout.sources[first:stop] - part.start
