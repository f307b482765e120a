"""What a configuration asks of the rollout: which of the two ways of growing a tree, and with which seeds."""

from omegaconf import DictConfig

from treepo.config import TreePOConfig
from treepo.config.policies import RolloutBackend


def backend(config: DictConfig, options: TreePOConfig) -> RolloutBackend:
    """``treepo.rollout.backend``, or in the engine on vLLM and portable elsewhere."""
    if options.rollout.backend is not None:
        return options.rollout.backend
    return RolloutBackend.IN_ENGINE if config.actor_rollout_ref.rollout.name == "vllm" else RolloutBackend.PORTABLE


def seeded(config: DictConfig, options: TreePOConfig) -> bool:
    """Whether every request draws from its own seed.

    Under verl's ``full_determinism`` a server gives requests without a seed one and the same, and siblings would not
    differ.
    """
    return options.rollout.seeded_requests or config.actor_rollout_ref.rollout.full_determinism
