"""The launch of a training, and its dry run."""

import os
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from treepo.config.load import adopt_environment, compose, resolve
from treepo.launch.cluster import detect
from treepo.launch.dry_run import dry_run
from treepo.launch.nodes.job import Job, Launch
from treepo.launch.nodes.ray_node import Resources, check_folder
from treepo.launch.nodes.run import run
from treepo.launch.options import Options, with_nodes
from treepo.launch.pools import extra_nodes
from treepo.start.accelerators import check_training_node
from treepo.start.declared import Start
from treepo.start.memory.estimate import estimate
from treepo.start.memory.model_shape import read_shape
from treepo.start.resumption import nothing_left
from treepo.start.training import engine


def launch_training(options: Options, command: tuple[str, ...]) -> int:
    """Launches a training; this node's part of it.

    Args:
        options: The launcher's options.
        command: The training's command; it takes ``--preset``, ``--config-dir``, ``--accept-changes``, ``--check`` and
            overrides.

    Returns:
        The exit status, the same on every node.

    Raises:
        ConfigError: Something is refused.
    """
    return run(prepare(options, command, os.environ)[0])


def check_training(options: Options, *, model_shape: str | None, accelerator_gib: float) -> int:
    """Prints what would be launched: its configuration and expected memory, and what its own checks say of it.

    Args:
        options: The launcher's options.
        model_shape: The model's sizes where it is not at hand: the path of a ``config.json``, or ``name=number,...``.
        accelerator_gib: Memory of one accelerator, in GiB.

    Returns:
        The exit status: 0 the training would start, 2 it would be refused.

    Raises:
        ConfigError: The configuration does not compose.
    """
    _, config = prepare(options, (), os.environ, starts=False)

    def memory() -> str:
        shape = read_shape(Path(str(config.actor_rollout_ref.model.path)).expanduser(), model_shape)
        return str(estimate(config, shape, accelerator_gib=accelerator_gib))

    return dry_run(config, check=lambda: _check(config, accept_changes=options.accept_changes), memory=memory)


def prepare(
    options: Options, command: tuple[str, ...], environment: Mapping[str, str], *, starts: bool = True
) -> tuple[Launch, DictConfig]:
    """Composes the configuration and finds this node's place.

    Args:
        options: The launcher's options.
        command: The training's command.
        environment: The environment variables.
        starts: Whether the training is started; a dry run needs no scheduler for its nodes.

    Returns:
        The launch, and the resolved configuration.

    Raises:
        ConfigError: Something is refused.
    """
    cluster = detect(environment)
    overrides = list(options.overrides)
    config = compose(options.preset, overrides, config_dir=options.config_dir)
    overrides = with_nodes(
        overrides,
        cluster,
        option="trainer.nnodes",
        value=config.trainer.nnodes,
        extra=extra_nodes(config),
        dry_run=not starts,
    )
    config = compose(options.preset, overrides, config_dir=options.config_dir)
    resolve(config)
    engine(Start(config=config))
    job = Job(
        kind="training",
        log="train.log",
        command=options.command(command, overrides),
        resources=Resources.of(config.ray_kwargs.ray_init),
        accelerators=config.trainer.n_gpus_per_node,
        accelerators_option="trainer.n_gpus_per_node",
        run_dir=Path(config.run_dir),
        checkpoints=Path(str(config.trainer.default_local_dir)),
        check_node=lambda: check_training_node(config, alone=cluster.nodes == 1),
        done=nothing_left(config) is not None,
    )
    return Launch(job=job, cluster=cluster, limits=options.limits), config


def _check(config: DictConfig, *, accept_changes: bool) -> list[str]:
    check_folder(os.environ)
    # As in the job itself: a preset for CPUs is checked as one, and verl takes its platform when it is imported.
    adopt_environment(config)
    # Only here: verl takes seconds to import.
    from treepo.start.checks import check

    warnings = check(config, accept_changes=accept_changes)
    done = nothing_left(config)
    return [*warnings, done] if done else warnings
