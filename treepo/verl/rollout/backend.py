"""What a configuration asks of the rollout: how a tree grows, with which seeds, on how many servers."""

from omegaconf import DictConfig

from treepo.config import TreePOConfig
from treepo.config.policies import TOOL_AGENT, RolloutBackend


def has_turns(config: DictConfig, options: TreePOConfig) -> bool:
    """Whether prompts become trees of turns, unless their rows ask for something else."""
    loop = config.actor_rollout_ref.rollout.agent.default_agent_loop
    return options.environment.name is not None or loop == TOOL_AGENT


def backend(config: DictConfig, options: TreePOConfig) -> RolloutBackend:
    """``treepo.rollout.backend``, or in the engine on vLLM and portable elsewhere and for trees of turns."""
    if options.rollout.backend is not None:
        return options.rollout.backend
    if has_turns(config, options):
        return RolloutBackend.PORTABLE
    return RolloutBackend.IN_ENGINE if config.actor_rollout_ref.rollout.name == "vllm" else RolloutBackend.PORTABLE


def seeded(config: DictConfig, options: TreePOConfig) -> bool:
    """Whether every request draws from its own seed.

    Under verl's ``full_determinism`` a server gives requests without a seed one and the same, and siblings would not
    differ.
    """
    return options.rollout.seeded_requests or config.actor_rollout_ref.rollout.full_determinism


def replicas(config: DictConfig) -> int:
    """Rollout servers that share the prompts."""
    rollout = config.actor_rollout_ref.rollout
    accelerators = (rollout.nnodes * rollout.n_gpus_per_node) or (
        config.trainer.nnodes * config.trainer.n_gpus_per_node
    )
    size = rollout.tensor_model_parallel_size * rollout.data_parallel_size * rollout.pipeline_model_parallel_size
    return max(1, accelerators // size)


def updates_per_step(config: DictConfig) -> int:
    """Updates of the actor between two updates of the servers; above 1 with ``separate_async`` alone."""
    v1 = config.trainer.v1
    return v1.separate_async.parameter_sync_step if v1.trainer_mode == "separate_async" else 1
