"""The memory of the rollout engine on one accelerator, and of an accelerator that serves a model and trains none."""

from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from treepo.start.memory.line import BYTES, GIB, Kind, Line
from treepo.start.memory.model_shape import ModelShape

_NOT_COUNTED = (
    "the CUDA context, NCCL's buffers and fragmentation, host memory, the processes that judge answers (1 GiB each at "
    "most, on the head)"
)


def describe_servers(config: DictConfig, shape: ModelShape, *, accelerator_gib: float) -> str:
    """The memory of one accelerator that serves a model and trains none, as a table.

    Args:
        config: The composed configuration of an evaluation, resolved.
        shape: The model.
        accelerator_gib: The memory of the accelerator.
    """
    variables = config.ray_kwargs.ray_init.runtime_env.env_vars
    engine = engine_memory(
        config.actor_rollout_ref.rollout,
        shape,
        longest=config.evaluation.prompt_length + config.evaluation.response_length,
        cpu_cache=cpu_cache(config) if variables.get("VERL_PLATFORM") == "cpu" else None,
        accelerator_gib=accelerator_gib,
    )
    rows = ["memory expected per accelerator, GiB", str(engine.share), "  in the engine's share"]
    rows += [str(engine.weights), str(engine.cache), f"    {engine.trajectories}"]
    return "\n".join([*rows, f"  not counted: {_NOT_COUNTED}"])


def cpu_cache(config: DictConfig) -> float | None:
    """GiB of cache on a CPU."""
    space = OmegaConf.select(config, "ray_kwargs.ray_init.runtime_env.env_vars.VLLM_CPU_KVCACHE_SPACE")
    return None if space is None else float(space)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
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


def engine_memory(
    rollout: Any, shape: ModelShape, *, longest: int, cpu_cache: float | None, accelerator_gib: float
) -> Engine:
    """Counts what the engine takes: a part of an accelerator, or its weights and `cpu_cache` GiB on a CPU."""
    parallel = rollout.tensor_model_parallel_size
    size = BYTES[str(rollout.dtype)]
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
    return Engine(share=share, weights=weights, room=room, cache=cache)
