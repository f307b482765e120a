"""Which of the two ways of growing a tree a configuration asks for."""

from omegaconf import DictConfig

from treepo.config import TreePOConfig
from treepo.policies import RolloutBackend


def backend(config: DictConfig, options: TreePOConfig) -> RolloutBackend:
    """``treepo.rollout.backend``, or in the engine on vLLM and portable elsewhere."""
    if options.rollout.backend is not None:
        return options.rollout.backend
    return RolloutBackend.IN_ENGINE if config.actor_rollout_ref.rollout.name == "vllm" else RolloutBackend.PORTABLE
