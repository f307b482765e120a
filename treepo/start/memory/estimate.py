"""The memory that a training expects of one accelerator, line by line with its formula."""

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from treepo.packing.scores import CHUNK_LOGITS
from treepo.start.memory.engine import cpu_cache, engine_memory
from treepo.start.memory.line import BYTES, GIB, Kind, Line
from treepo.start.memory.model_shape import ModelShape
from treepo.verl.training.packing import obstacle, sequence_ranks

# Of an accelerator, for what is not counted.
_SPARE = 0.1
NOT_COUNTED = (
    "the CUDA context, NCCL's buffers and fragmentation (together often 2 to 4 GiB), the bucket of the weight update "
    "(rollout.checkpoint_engine.update_weights_bucket_megabytes), the engine's own activations and CUDA graphs (inside "
    "its share), a critic or reward model, host memory and Ray's object store"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What one accelerator holds.

    Attributes:
        update: While weights are updated.
        rollout: While trajectories are sampled.
        cache: What the rollout engine's share is used for.
        trajectories: How many of full length the share holds at once, in words.
        accelerator_gib: What there is.
    """

    update: tuple[Line, ...]
    rollout: tuple[Line, ...]
    cache: tuple[Line, ...]
    trajectories: str
    accelerator_gib: float

    @property
    def tight(self) -> tuple[str, ...]:
        """Warnings, a line each, where less than a tenth of the accelerator is left for what is not counted."""
        remedies = {
            "update of the weights": "lower actor_rollout_ref.actor.ppo_max_token_len_per_gpu, set "
            "actor_rollout_ref.actor.fsdp_config.offload_policy=true",
            "rollout": "lower actor_rollout_ref.rollout.gpu_memory_utilization, set "
            "actor_rollout_ref.actor.fsdp_config.optimizer_offload=true",
        }
        return tuple(
            f"the {title} expects {size:.1f} of {self.accelerator_gib:g} GiB, and what is not counted comes on top: "
            f"{remedies[title]}, or take more accelerators"
            for title, lines in self._parts
            if (size := sum(line.size for line in lines) / GIB) > (1 - _SPARE) * self.accelerator_gib
        )

    @property
    def _parts(self) -> tuple[tuple[str, tuple[Line, ...]], ...]:
        return (("update of the weights", self.update), ("rollout", self.rollout))

    def __str__(self) -> str:
        """A table, and the warnings."""
        rows = ["memory expected per accelerator, GiB"]
        for title, lines in self._parts:
            rows.append(f"  {title}: {sum(line.size for line in lines) / GIB:.2f}")
            rows += [str(line) for line in lines]
        rows += ["  in the engine's share", *(str(line) for line in self.cache), f"    {self.trajectories}"]
        rows.append(f"  not counted: {NOT_COUNTED}")
        return "\n".join([*rows, *(f"warning: {line}" for line in self.tight)])


def estimate(config: DictConfig, shape: ModelShape, *, accelerator_gib: float) -> Estimate:
    """Estimates the memory of one accelerator.

    Args:
        config: The composed configuration, resolved.
        shape: The model.
        accelerator_gib: The memory of the accelerator.

    Returns:
        The lines; an upper estimate for micro-batches that are full.
    """
    rollout = config.actor_rollout_ref.rollout
    engine = engine_memory(
        rollout,
        shape,
        longest=config.data.max_prompt_length + config.data.max_response_length,
        cpu_cache=cpu_cache(config) if config.trainer.device == "cpu" else None,
        accelerator_gib=accelerator_gib,
    )
    never, between = _on_host(config), _gone_between_updates(config)
    states = [line for line in _states(config, shape) if line.kind not in never]
    # An engine that does not sleep keeps its share throughout.
    awake = () if rollout.free_cache_engine else (engine.share,)
    return Estimate(
        update=(*states, *_work(config, shape), *awake),
        rollout=(engine.share, *(line for line in states if line.kind not in between)),
        cache=(engine.weights, engine.cache),
        trajectories=engine.trajectories,
        accelerator_gib=accelerator_gib,
    )


def _on_host(config: DictConfig) -> set[Kind]:
    """The states that are never on the accelerator as a whole."""
    actor, reference = config.actor_rollout_ref.actor.fsdp_config, config.actor_rollout_ref.ref.fsdp_config
    kinds: set[Kind] = set()
    if actor.offload_policy:
        kinds |= {Kind.WEIGHTS, Kind.GRADIENTS, Kind.OPTIMISER}
    if reference.param_offload or reference.offload_policy:
        kinds.add(Kind.REFERENCE)
    return kinds


def _gone_between_updates(config: DictConfig) -> set[Kind]:
    """The states that leave the accelerator after every update; gradients are always freed."""
    actor = config.actor_rollout_ref.actor.fsdp_config
    kinds = {Kind.GRADIENTS}
    if actor.param_offload:
        kinds.add(Kind.WEIGHTS)
    if actor.optimizer_offload:
        kinds.add(Kind.OPTIMISER)
    return kinds


def _states(config: DictConfig, shape: ModelShape) -> list[Line]:
    """What the trainer holds, sharded."""
    fsdp, reference = config.actor_rollout_ref.actor.fsdp_config, config.actor_rollout_ref.ref.fsdp_config
    world = config.trainer.nnodes * config.trainer.n_gpus_per_node
    shards = world if fsdp.fsdp_size < 0 or fsdp.fsdp_size >= world else fsdp.fsdp_size
    count = shape.parameters

    def sharded(kind: Kind, size: int, *, copies: int = 1) -> Line:
        times = "" if copies == 1 else f"{copies} x "
        formula = f"{times}{count:,} x {size} B / {shards} shards"
        return Line(kind=kind, size=copies * count * size / shards, formula=formula)

    # verl trains float32 states where no type is given.
    stored = BYTES[str(fsdp.model_dtype or "fp32")]
    lines = [
        sharded(Kind.WEIGHTS, stored),
        sharded(Kind.GRADIENTS, stored),
        sharded(Kind.OPTIMISER, stored, copies=2),
    ]
    if config.actor_rollout_ref.actor.use_kl_loss or config.algorithm.use_kl_in_reward:
        lines.append(sharded(Kind.REFERENCE, BYTES[str(reference.model_dtype or "bf16")]))
    return lines


def _work(config: DictConfig, shape: ModelShape) -> list[Line]:
    """What an update needs besides."""
    actor, model = config.actor_rollout_ref.actor, config.actor_rollout_ref.model
    # verl computes in bfloat16 where no type is given.
    computed = BYTES[str(OmegaConf.select(actor.fsdp_config, "mixed_precision.param_dtype") or "bf16")]
    gathered = max(shape.layer_parameters, shape.vocab_size * shape.hidden_size)
    layers = Line(
        kind=Kind.GATHERED,
        size=2 * gathered * computed,
        formula=f"2 x {gathered:,} x {computed} B (the largest unit, and the next one)",
    )
    packed = OmegaConf.select(config, "treepo.packing.enabled") is not False and not obstacle(config, look_up=False)
    return [layers, *_activations(actor, model, config.data, shape, computed, packed=packed)]


def _activations(actor: Any, model: Any, data: Any, shape: ModelShape, computed: int, *, packed: bool) -> list[Line]:
    longest = data.max_prompt_length + data.max_response_length
    ranks = sequence_ranks(actor)
    tokens = (
        actor.ppo_max_token_len_per_gpu
        if actor.use_dynamic_bsz
        else -(-(actor.ppo_micro_batch_size_per_gpu or 1) * longest // ranks)
    )
    heads = shape.num_attention_heads + shape.num_key_value_heads
    per_token = 6 * shape.hidden_size + 2 * heads * shape.head_dim + 4 * shape.intermediate_size
    layers = shape.num_hidden_layers
    if model.enable_gradient_checkpointing:
        kept = tokens * (layers * shape.hidden_size + per_token) * computed
        formula = f"{tokens:,} tokens x ({layers} layers x {shape.hidden_size} + {per_token:,}) x {computed} B"
    else:
        kept = tokens * layers * per_token * computed
        formula = f"{tokens:,} tokens x {layers} layers x {per_token:,} x {computed} B (no checkpointing)"
    lines = [Line(kind=Kind.ACTIVATIONS, size=kept, formula=formula)]
    if packed and ranks > 1:
        # Of all ranks' tokens, one layer at a time; the gradient once more while it is exchanged.
        numbers, each = 2 * shape.num_key_value_heads * shape.head_dim, computed + 8
        lines.append(
            Line(
                kind=Kind.KEYS,
                size=ranks * tokens * numbers * each,
                formula=f"{ranks} x {tokens:,} tokens x {numbers:,} x {each} B (a layer's keys, values, gradients)",
            )
        )
    if packed:
        # The head's scores are computed in chunks, and its gradient is summed in float32.
        held, each = min(tokens, CHUNK_LOGITS // shape.vocab_size), 2 * computed + 8
        head = shape.vocab_size * shape.hidden_size
        lines.append(
            Line(
                kind=Kind.LOGITS,
                size=held * shape.vocab_size * each + 4 * head,
                formula=f"{held:,} tokens x {shape.vocab_size:,} x {each} B (a chunk) + {head:,} x 4 B (the head)",
            )
        )
    elif not actor.use_fused_kernels:
        each = 2 * computed + 4
        lines.append(
            Line(
                kind=Kind.LOGITS,
                size=tokens * shape.vocab_size * each,
                formula=f"{tokens:,} tokens x {shape.vocab_size:,} x {each} B (values, gradient, float32 softmax)",
            )
        )
    return lines
