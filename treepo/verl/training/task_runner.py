"""verl's training, with trees: its task runner, and how it is started and ended."""

import signal
from typing import Any

import ray
from omegaconf import DictConfig
from ray.exceptions import RayError
from verl.trainer.main_ppo import TaskRunnerV1, run_ppo

from treepo.processes import signals_interrupt

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


class TrainingError(RuntimeError):
    """A training that has failed in the Ray cluster; the text is what Ray says of it."""


def run_training(config: DictConfig) -> None:
    """Runs a checked training to its end, and takes its Ray cluster down where it was its own.

    Args:
        config: The whole configuration, resolved, with its environment adopted.

    Raises:
        TrainingError: It failed.
        KeyboardInterrupt: A signal ended it.
    """
    try:
        # So that Ray takes its processes down.
        with signals_interrupt():
            run_ppo(config, task_runner_class=ray.remote(TreeTaskRunner))
    except SystemExit as ended:
        # Ray's own handler of SIGTERM exits with the signal's number.
        if ended.code != signal.SIGTERM:
            raise
        raise KeyboardInterrupt from ended
    except RayError as error:
        raise TrainingError(str(error)) from error
    finally:
        ray.shutdown()


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
