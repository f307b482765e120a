"""The memory that a training, or an evaluation, expects of one accelerator, line by line with its formula."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from omegaconf import DictConfig, OmegaConf

from treepo.packing.scores import CHUNK_LOGITS
from treepo.start.model_shape import ModelShape
from treepo.verl.training.packing import obstacle

GIB = 1 << 30
_BYTES = {"fp32": 4, "float32": 4, "bf16": 2, "bfloat16": 2, "fp16": 2, "float16": 2}
NOT_COUNTED = (
    "the CUDA context, NCCL's buffers and fragmentation (together often 2 to 4 GiB), the bucket of the weight update "
    "(rollout.checkpoint_engine.update_weights_bucket_megabytes), the engine's own activations and CUDA graphs (inside "
    "its share), a critic or reward model, host memory and Ray's object store"
)

_NOT_COUNTED_SERVING = (
    "the CUDA context, NCCL's buffers and fragmentation, host memory, the processes that judge answers (1 GiB each at "
    "most, on the head)"
)


class Kind(StrEnum):
    """What memory is used for; the value is what the table calls it."""

    WEIGHTS = "weights"
    GRADIENTS = "gradients"
    OPTIMISER = "optimiser"
    REFERENCE = "reference weights"
    GATHERED = "gathered layers"
    ACTIVATIONS = "activations"
    LOGITS = "logits"
    ENGINE = "rollout engine"
    ENGINE_WEIGHTS = "engine weights"
    CACHE = "cache per trajectory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One use of memory.

    Attributes:
        kind: What for.
        size: Bytes.
        formula: How they are counted.
    """

    kind: Kind
    size: float
    formula: str

    @property
    def name(self) -> str:
        """What the table calls it."""
        return self.kind.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What one accelerator holds while weights are updated, and while trajectories are sampled; then the cache."""

    update: tuple[Line, ...]
    rollout: tuple[Line, ...]
    cache: tuple[Line, ...]
    trajectories: str

    def __str__(self) -> str:
        """A table."""
        rows = ["memory expected per accelerator, GiB"]
        for title, lines in (("update of the weights", self.update), ("rollout", self.rollout)):
            rows.append(f"  {title}: {sum(line.size for line in lines) / GIB:.2f}")
            rows += [_row(line) for line in lines]
        rows += ["  in the engine's share", *(_row(line) for line in self.cache), f"    {self.trajectories}"]
        return "\n".join([*rows, f"  not counted: {NOT_COUNTED}"])


def _row(line: Line) -> str:
    return f"    {line.name:<24}{line.size / GIB:>9.3f}  = {line.formula}"


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
    engine = _engine(
        rollout,
        shape,
        longest=config.data.max_prompt_length + config.data.max_response_length,
        cpu_cache=_cpu_cache(config) if config.trainer.device == "cpu" else None,
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
    stored = _BYTES[str(fsdp.model_dtype or "fp32")]
    lines = [
        sharded(Kind.WEIGHTS, stored),
        sharded(Kind.GRADIENTS, stored),
        sharded(Kind.OPTIMISER, stored, copies=2),
    ]
    if config.actor_rollout_ref.actor.use_kl_loss or config.algorithm.use_kl_in_reward:
        lines.append(sharded(Kind.REFERENCE, _BYTES[str(reference.model_dtype or "bf16")]))
    return lines


def _work(config: DictConfig, shape: ModelShape) -> list[Line]:
    """What an update needs besides."""
    actor, model = config.actor_rollout_ref.actor, config.actor_rollout_ref.model
    # verl computes in bfloat16 where no type is given.
    computed = _BYTES[str(OmegaConf.select(actor.fsdp_config, "mixed_precision.param_dtype") or "bf16")]
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
    tokens = (
        actor.ppo_max_token_len_per_gpu
        if actor.use_dynamic_bsz
        else (actor.ppo_micro_batch_size_per_gpu or 1) * longest
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


def describe_servers(config: DictConfig, shape: ModelShape, *, accelerator_gib: float) -> str:
    """The memory of one accelerator that serves a model and trains none, as a table.

    Args:
        config: The composed configuration of an evaluation, resolved.
        shape: The model.
        accelerator_gib: The memory of the accelerator.
    """
    variables = config.ray_kwargs.ray_init.runtime_env.env_vars
    engine = _engine(
        config.actor_rollout_ref.rollout,
        shape,
        longest=config.evaluation.prompt_length + config.evaluation.response_length,
        cpu_cache=_cpu_cache(config) if variables.get("VERL_PLATFORM") == "cpu" else None,
        accelerator_gib=accelerator_gib,
    )
    rows = ["memory expected per accelerator, GiB", _row(engine.share), "  in the engine's share"]
    rows += [_row(engine.weights), _row(engine.cache), f"    {engine.trajectories}"]
    return "\n".join([*rows, f"  not counted: {_NOT_COUNTED_SERVING}"])


def _cpu_cache(config: DictConfig) -> float | None:
    """GiB of cache on a CPU."""
    space = OmegaConf.select(config, "ray_kwargs.ray_init.runtime_env.env_vars.VLLM_CPU_KVCACHE_SPACE")
    return None if space is None else float(space)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Engine:
    """The rollout engine on one accelerator.

    Attributes:
        share: All that it takes.
        weights: Its weights, inside the share.
        room: Bytes of the share that are left for caches; negative if not even the weights fit.
        cache: The cache of one trajectory of full length.
    """

    share: Line
    weights: Line
    room: float
    cache: Line

    @property
    def trajectories(self) -> str:
        """How many trajectories of full length fit, with the formula."""
        fit = int(self.room / self.cache.size) if self.room > 0 else 0
        return (
            f"trajectories of full length that fit: {fit:,} without shared prefixes = ({self.share.name} - "
            f"{self.weights.name}) / {self.cache.name}; a tree shares its prefixes, so more of its trajectories fit"
        )


def _engine(
    rollout: Any, shape: ModelShape, *, longest: int, cpu_cache: float | None, accelerator_gib: float
) -> _Engine:
    """Counts what the engine takes: a part of an accelerator, or its weights and `cpu_cache` GiB on a CPU."""
    parallel = rollout.tensor_model_parallel_size
    size = _BYTES[str(rollout.dtype)]
    weights = Line(
        kind=Kind.ENGINE_WEIGHTS,
        size=shape.parameters * size / parallel,
        formula=f"{shape.parameters:,} x {size} B / {parallel} (tensor parallel)",
    )
    tokens = rollout.max_model_len or longest
    heads = max(1, shape.num_key_value_heads // parallel)
    cache = Line(
        kind=Kind.CACHE,
        size=tokens * 2 * shape.num_hidden_layers * heads * shape.head_dim * size,
        formula=f"{tokens:,} tokens x 2 x {shape.num_hidden_layers} layers x {heads} heads x {shape.head_dim} x "
        f"{size} B",
    )
    if cpu_cache is not None:
        room = cpu_cache * GIB
        share = Line(kind=Kind.ENGINE, size=weights.size + room, formula=f"weights + {cpu_cache:g} GiB of cache")
    else:
        share = Line(
            kind=Kind.ENGINE,
            size=rollout.gpu_memory_utilization * accelerator_gib * GIB,
            formula=f"gpu_memory_utilization {rollout.gpu_memory_utilization} x {accelerator_gib:g} GiB",
        )
        room = share.size - weights.size
    return _Engine(share=share, weights=weights, room=room, cache=cache)
