"""The memory that a training, or an evaluation, expects of one accelerator, line by line with its formula."""

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from treepo.launch.model_shape import ModelShape

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One use of memory, in bytes."""

    name: str
    size: float
    formula: str


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
    states, work = _trainer(config, shape)
    fsdp = config.actor_rollout_ref.actor.fsdp_config
    sleeps = bool(config.actor_rollout_ref.rollout.free_cache_engine)
    reference = config.actor_rollout_ref.ref.fsdp_config
    # What is on the host throughout, and what leaves the accelerator between updates; gradients are freed there.
    always = {"reference weights"} if reference.param_offload or reference.offload_policy else set()
    always |= {"weights", "gradients", "optimiser"} if fsdp.offload_policy else set()
    between = {"gradients"} | ({"weights"} if fsdp.param_offload else set())
    between |= {"optimiser"} if fsdp.optimizer_offload else set()
    share, weights, cache, trajectories = _engine(
        config.actor_rollout_ref.rollout,
        shape,
        longest=config.data.max_prompt_length + config.data.max_response_length,
        cpu_cache=_cpu_cache(config) if config.trainer.device == "cpu" else None,
        accelerator_gib=accelerator_gib,
    )
    kept = [line for line in states if line.name not in always]
    stays = [line for line in kept if line.name not in between]
    return Estimate(
        update=(*kept, *work, *(() if sleeps else (share,))),
        rollout=(share, *stays),
        cache=(weights, cache),
        trajectories=trajectories,
    )


def _trainer(config: DictConfig, shape: ModelShape) -> tuple[list[Line], list[Line]]:
    """The sharded states of the trainer, and what an update needs besides."""
    actor, model = config.actor_rollout_ref.actor, config.actor_rollout_ref.model
    fsdp = actor.fsdp_config
    world = config.trainer.nnodes * config.trainer.n_gpus_per_node
    shards = world if fsdp.fsdp_size < 0 or fsdp.fsdp_size >= world else fsdp.fsdp_size
    count, layer = shape.parameters, shape.layer_parameters
    # verl trains float32 states where no type is given, and computes in bfloat16.
    stored = _BYTES[str(fsdp.model_dtype or "fp32")]
    computed = _BYTES[str(OmegaConf.select(fsdp, "mixed_precision.param_dtype") or "bf16")]
    states = [
        Line(name="weights", size=count * stored / shards, formula=f"{count:,} x {stored} B / {shards} shards"),
        Line(name="gradients", size=count * stored / shards, formula=f"{count:,} x {stored} B / {shards} shards"),
        Line(
            name="optimiser", size=2 * count * stored / shards, formula=f"2 x {count:,} x {stored} B / {shards} shards"
        ),
    ]
    if actor.use_kl_loss or config.algorithm.use_kl_in_reward:
        reference = _BYTES[str(config.actor_rollout_ref.ref.fsdp_config.model_dtype or "bf16")]
        states.append(
            Line(
                name="reference weights",
                size=count * reference / shards,
                formula=f"{count:,} x {reference} B / {shards} shards",
            )
        )
    gathered = max(layer, shape.vocab_size * shape.hidden_size)
    work = [
        Line(
            name="gathered layers",
            size=2 * gathered * computed,
            formula=f"2 x {gathered:,} x {computed} B (the largest unit, and the next one)",
        ),
        *_activations(actor, model, config.data, shape, computed),
    ]
    return states, work


def _activations(actor: Any, model: Any, data: Any, shape: ModelShape, computed: int) -> list[Line]:
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
    lines = [Line(name="activations", size=kept, formula=formula)]
    if not actor.use_fused_kernels:
        each = 2 * computed + 4
        lines.append(
            Line(
                name="logits",
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
    share, weights, cache, trajectories = _engine(
        config.actor_rollout_ref.rollout,
        shape,
        longest=config.evaluation.prompt_length + config.evaluation.response_length,
        cpu_cache=_cpu_cache(config) if variables.get("VERL_PLATFORM") == "cpu" else None,
        accelerator_gib=accelerator_gib,
    )
    rows = ["memory expected per accelerator, GiB", _row(share), "  in the engine's share", _row(weights), _row(cache)]
    return "\n".join([*rows, f"    {trajectories}", f"  not counted: {_NOT_COUNTED_SERVING}"])


def _cpu_cache(config: DictConfig) -> float | None:
    """GiB of cache on a CPU."""
    space = OmegaConf.select(config, "ray_kwargs.ray_init.runtime_env.env_vars.VLLM_CPU_KVCACHE_SPACE")
    return None if space is None else float(space)


def _engine(
    rollout: Any, shape: ModelShape, *, longest: int, cpu_cache: float | None, accelerator_gib: float
) -> tuple[Line, Line, Line, str]:
    """The engine's share, its weights, the cache of one trajectory, and how many fit."""
    parallel = rollout.tensor_model_parallel_size
    size = _BYTES[str(rollout.dtype)]
    weights = Line(
        name="engine weights",
        size=shape.parameters * size / parallel,
        formula=f"{shape.parameters:,} x {size} B / {parallel} (tensor parallel)",
    )
    tokens = rollout.max_model_len or longest
    heads = max(1, shape.num_key_value_heads // parallel)
    cache = Line(
        name="cache per trajectory",
        size=tokens * 2 * shape.num_hidden_layers * heads * shape.head_dim * size,
        formula=f"{tokens:,} tokens x 2 x {shape.num_hidden_layers} layers x {heads} heads x {shape.head_dim} x "
        f"{size} B",
    )
    if cpu_cache is not None:
        room = cpu_cache * GIB
        share = Line(name="rollout engine", size=weights.size + room, formula=f"weights + {cpu_cache:g} GiB of cache")
    else:
        total = rollout.gpu_memory_utilization * accelerator_gib * GIB
        share = Line(
            name="rollout engine",
            size=total,
            formula=f"gpu_memory_utilization {rollout.gpu_memory_utilization} x {accelerator_gib:g} GiB",
        )
        room = total - weights.size
    fit = int(room / cache.size) if room > 0 else 0
    trajectories = (
        f"trajectories of full length that fit: {fit:,} without shared prefixes = ({share.name} - {weights.name}) / "
        f"{cache.name}; a tree shares its prefixes, so more of its trajectories fit"
    )
    return share, weights, cache, trajectories
