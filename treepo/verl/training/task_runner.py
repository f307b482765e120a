"""verl's task runner, with trees."""

from typing import Any

import ray
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
        from treepo.verl.weight_sockets import sends_over_sockets, use_own_sockets

        refuse_shared_cluster()
        options = tree_options(config)
        use_tree_trainer()
        if packs(config, options):
            use_packed_engine(config)
        trees, named = backend(config, options) is RolloutBackend.IN_ENGINE, sends_over_sockets(config)
        if named:
            use_own_sockets(config)
        if trees or named:
            from treepo.verl.rollout.tree_server import use_servers

            use_servers(trees=trees)
        super().run(config)


def refuse_shared_cluster() -> None:
    """Ends a training in a Ray cluster where another one trains; TransferQueue 0.1.11 has one table per cluster.

    Raises:
        RuntimeError: Another training's table is there, which this one would read, and remove at its end.
    """
    try:
        ray.get_actor("TransferQueueController", namespace="transfer_queue")
    except ValueError:
        return
    raise RuntimeError(
        "another training runs in this Ray cluster, and the two would mix their rows: give each a cluster of its own "
        "(ray_kwargs.ray_init.address=local), or wait until the other has ended"
    )
