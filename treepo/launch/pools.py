"""Nodes that verl takes besides the trainer's own."""

from omegaconf import DictConfig


def extra_nodes(config: DictConfig) -> dict[str, int]:
    """The nodes of every further resource pool, by the option that says how many.

    As verl 0.9.1 makes them: ``PPOTrainer._init_resource_pool_mgr``, and the servers of ``separate_async``. Ray may put
    two pools on one node where its accelerators suffice.

    Args:
        config: A composed training configuration.
    """
    rollout, reward, teacher = config.actor_rollout_ref.rollout, config.reward.reward_model, config.distillation
    pools = (
        ("actor_rollout_ref.rollout.nnodes", rollout.nnodes, config.trainer.v1.trainer_mode == "separate_async"),
        ("reward.reward_model.nnodes", reward.nnodes, reward.enable_resource_pool),
        ("distillation.nnodes", teacher.nnodes, teacher.enabled),
    )
    return {option: count for option, count, asked in pools if asked and count}
