"""verl's own trainer for independent samples, with two things set equal.

It looks for finished prompts as often as the trainer of trees; verl looks every 2 seconds, which on a task of seconds
would be counted against it. And its weight sockets have a name of their own, so that trainings share a machine.
"""

from typing import Any

from omegaconf import DictConfig
from verl.trainer.main_ppo import TaskRunnerV1

from treepo.config.load import tree_options

# The class behind verl's Ray actor.
_TaskRunner: Any = TaskRunnerV1.__ray_metadata__.modified_class  # pyright: ignore[reportAttributeAccessIssue]


class StockTaskRunner(_TaskRunner):
    """verl's task runner; wrap it with ``ray.remote``."""

    def run(self, config: DictConfig) -> None:
        """Trains.

        Args:
            config: The whole composed configuration.
        """
        # Imported in Ray's actor alone: it takes seconds.
        from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer
        from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY
        from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

        from treepo.verl.rollout.tree_server import use_servers
        from treepo.verl.weight_sockets import sends_over_sockets, use_own_sockets

        class Trainer(PPOTrainerSync):
            def _build_replay_buffer(self) -> ReplayBuffer:
                buffer = super()._build_replay_buffer()
                buffer.poll_interval = tree_options(self.config).rollout.poll_interval
                return buffer

        TRAINER_REGISTRY["sync"] = Trainer
        if sends_over_sockets(config):
            use_own_sockets(config)
            use_servers(trees=False)
        super().run(config)
