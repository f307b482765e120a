"""FLOPs and bytes of a step's parts, from counts of tokens and the model's shape. A multiply-add is two FLOPs."""

import math
from dataclasses import dataclass

from benchmarks.plan.growth import Sampled
from benchmarks.plan.hardware import Hardware
from treepo.packing import Rows, lay_out, plan_micro_batches, read_out, share_over_ranks, walk_trees
from treepo.start.memory.model_shape import ModelShape

# In the units of a forward pass: an update with checkpointing runs two, and gradients of inputs and of weights.
_UPDATE = 4.0
# Flash attention's backward has five products where its forward has two.
_UPDATE_ATTENTION = 4.5
_WEIGHT_BYTES = 2  # bfloat16
_REDUCED_BYTES = 4  # verl reduces gradients in float32
# AdamW reads weight, gradient and two moments, and writes all but the gradient, in float32.
_OPTIMIZER_BYTES = 7 * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What the model runs on, of the busiest rank.

    Attributes:
        tokens: Tokens.
        pairs: Pairs of tokens that attend.
        logits: Tokens whose logits are computed.
        micro_batches: Forward passes.
        total: Tokens of all ranks.
    """

    tokens: int
    pairs: int
    logits: int
    micro_batches: int
    total: int

    def times(self, factor: float) -> "Pass":
        """So many of them, one after the other."""
        return Pass(
            **{
                name: math.ceil(getattr(self, name) * factor) for name in ("tokens", "pairs", "logits", "micro_batches")
            },
            total=round(self.total * factor),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one accelerator does in a part of a step.

    Attributes:
        flops: Operations.
        memory_bytes: Read and written: weights, caches and optimizer states; activations are not counted.
        link_bytes: Received from other accelerators.
    """

    flops: float
    memory_bytes: float
    link_bytes: float

    def seconds(self, hardware: Hardware, utilisation: float) -> float:
        """The longest of the three at the hardware's peaks, operations at a share of theirs."""
        return max(
            self.flops / (hardware.tflops * 1e12 * utilisation),
            self.memory_bytes / (hardware.bandwidth * 1e12),
            self.link_bytes / (hardware.link * 1e12),
        )


def forward_flops(shape: ModelShape, *, tokens: float, pairs: float, logits: float) -> tuple[float, float]:
    """FLOPs of a forward pass: of all matrix products with weights, and of attention."""
    queries, keys = shape.num_attention_heads * shape.head_dim, shape.num_key_value_heads * shape.head_dim
    layer = shape.hidden_size * (2 * queries + 2 * keys + 3 * shape.intermediate_size)
    linear = 2 * (shape.num_hidden_layers * layer * tokens + shape.vocab_size * shape.hidden_size * logits)
    return linear, 4 * shape.num_hidden_layers * queries * pairs


def cache_bytes(shape: ModelShape) -> int:
    """Of one token's keys and values."""
    return 2 * shape.num_hidden_layers * shape.num_key_value_heads * shape.head_dim * _WEIGHT_BYTES


def by_rows(rows: Rows, *, ranks: int, max_tokens: int) -> Pass:
    """Rows without padding, spread evenly over the ranks; verl's engine computes the logits of every token.

    Args:
        rows: Of all ranks.
        ranks: Data-parallel ranks.
        max_tokens: Tokens of a micro-batch.

    Raises:
        ValueError: There are fewer rows than ranks, or they do not divide by them.
    """
    _even(rows, ranks)
    shares: list[list[int]] = [[] for _ in range(ranks)]
    falling = sorted(rows.lengths.tolist(), reverse=True)
    for length in falling:
        open_shares = [share for share in shares if len(share) < len(rows) // ranks]
        min(open_shares, key=sum).append(length)
    busiest = max(shares, key=sum)
    tokens = sum(busiest)
    return Pass(
        tokens=tokens,
        pairs=sum(length * (length + 1) // 2 for length in busiest),
        logits=tokens,
        micro_batches=max(-(-sum(share) // max_tokens) for share in shares),
        total=sum(falling),
    )


def packed(rows: Rows, *, ranks: int, max_tokens: int) -> Pass:
    """The same rows packed: shared out, cut and laid out by the code that trains.

    Args:
        rows: Of all ranks.
        ranks: Data-parallel ranks.
        max_tokens: Tokens of a micro-batch.

    Raises:
        ValueError: There are fewer rows than ranks, they do not divide by them, or a row is longer than `max_tokens`.
    """
    _even(rows, ranks)
    shares = share_over_ranks(walk_trees(rows), ranks=ranks)
    plans = [(own := rows.select(share.rows), plan_micro_batches(own, max_tokens=max_tokens)) for share in shares]
    totals = [sum(batch.packed_tokens for batch in plan.batches) for _, plan in plans]
    own, plan = plans[totals.index(max(totals))]
    pairs = logits = tokens = 0
    for batch in plan.batches:
        chosen = own.select(batch.rows)
        layout = lay_out(chosen)
        tokens += len(layout)
        pairs += int((layout.positions + 1).sum())
        logits += len(read_out(layout, chosen).positions)
    return Pass(
        tokens=tokens,
        pairs=pairs,
        logits=logits,
        micro_batches=max(len(plan.batches) for _, plan in plans),
        total=sum(totals),
    )


def _even(rows: Rows, ranks: int) -> None:
    if len(rows) % ranks:
        raise ValueError(f"{len(rows)} rows cannot be shared evenly by {ranks} GPUs")


def log_probs(shape: ModelShape, done: Pass, *, ranks: int) -> Cost:
    """One forward pass without gradients, as of old log-probs and of a reference model."""
    linear, attention = forward_flops(shape, tokens=done.tokens, pairs=done.pairs, logits=done.logits)
    weights = _WEIGHT_BYTES * shape.parameters * done.micro_batches
    return Cost(flops=linear + attention, memory_bytes=weights, link_bytes=weights * _others(ranks))


def update(shape: ModelShape, done: Pass, *, ranks: int, steps: int) -> Cost:
    """Forward and backward with gradient checkpointing, FSDP's collectives, and AdamW's steps."""
    linear, attention = forward_flops(shape, tokens=done.tokens, pairs=done.pairs, logits=done.logits)
    weights = _WEIGHT_BYTES * shape.parameters * done.micro_batches
    gradients = _REDUCED_BYTES * shape.parameters * done.micro_batches
    optimizer = _OPTIMIZER_BYTES * shape.parameters / ranks * steps
    return Cost(
        flops=_UPDATE * linear + _UPDATE_ATTENTION * attention,
        # Weights are read forward, again, and backward; gradients are written.
        memory_bytes=3 * weights + gradients + optimizer,
        # Gathered forward and backward; gradients are scattered.
        link_bytes=(2 * weights + gradients) * _others(ranks),
    )


def rollout(shape: ModelShape, found: Sampled, *, gpus: int, slots: int, room_blocks: float) -> tuple[Cost, int]:
    """Decoding, with one engine per accelerator and slots that are always full.

    Args:
        shape: The model.
        found: The rollout of a whole step.
        gpus: Accelerators; requests are spread evenly.
        slots: Sequences that an engine decodes at once, at most.
        room_blocks: KV blocks that an engine has room for.

    Returns:
        The cost on one accelerator, and how many sequences decode at once.
    """
    own = found.requests / gpus
    at_once = max(1, math.floor(min(slots, own, room_blocks / (found.blocks / found.requests))))
    steps = max(found.longest, math.ceil(found.generated / gpus / at_once))
    tokens = (found.generated + found.computed) / gpus
    linear, attention = forward_flops(
        shape, tokens=tokens, pairs=found.context / gpus, logits=(found.generated + found.requests) / gpus
    )
    reads = found.context / gpus * cache_bytes(shape) + tokens * cache_bytes(shape)
    memory = steps * _WEIGHT_BYTES * shape.parameters + reads
    return Cost(flops=linear + attention, memory_bytes=memory, link_bytes=0.0), at_once


def _others(ranks: int) -> float:
    """The share of a gathered tensor that other ranks hold."""
    return (ranks - 1) / ranks
