"""verl's task runner, with trees."""

from typing import Any

from omegaconf import DictConfig
from verl.trainer.main_ppo import TaskRunnerV1

# The class behind verl's Ray actor.
_TaskRunner: Any = TaskRunnerV1.__ray_metadata__.modified_class  # pyright: ignore[reportAttributeAccessIssue]


class TreeTaskRunner(_TaskRunner):
    """Runs a training job in its own Ray actor; wrap it with ``ray.remote``."""

    def run(self, config: DictConfig) -> None:
        """Trains.

        Args:
            config: The whole composed configuration.
        """
        from treepo.config.load import tree_options
        from treepo.config.policies import RolloutBackend
        from treepo.verl.rollout.backend import backend
        from treepo.verl.training.packing import packs, use_packed_engine
        from treepo.verl.training.trainer import use_tree_trainer

        options = tree_options(config)
        use_tree_trainer()
        if packs(config, options):
            use_packed_engine(config)
        if backend(config, options) is RolloutBackend.IN_ENGINE:
            from treepo.verl.rollout.tree_server import use_tree_servers

            use_tree_servers()
        super().run(config)
