"""The command line of the training's launcher."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from treepo.config import ConfigError
from treepo.config.load import CONFIG_DIR, adopt_environment, compose, hydra_quote, resolve
from treepo.launch.cluster import detect
from treepo.launch.dry_run import dry_run
from treepo.launch.nodes.job import Job, Launch
from treepo.launch.nodes.ray_node import Resources, check_folder
from treepo.launch.nodes.run import REFUSED, run
from treepo.launch.options import EPILOG, add_options, limits_of, preset_folder, with_nodes
from treepo.launch.pools import extra_nodes
from treepo.start.memory import estimate
from treepo.start.model_shape import read_shape
from treepo.start.resumption import nothing_left
from treepo.start.training import check_engine


def main(trainer: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Launches, or with ``--dry-run`` says what would be launched.

    Args:
        trainer: The trainer's command; it takes ``--config-name``, ``--config-dir``, ``--accept-changes``, ``--check``
            and overrides.
        arguments: The command line, without the program's name; None for the process's own.

    Returns:
        The exit status.
    """
    options = parser().parse_intermixed_args(arguments)
    try:
        launch, config = prepare(options, trainer, os.environ)
        if not options.dry_run:
            return run(launch)
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return REFUSED
    return dry_run(config, check=lambda: _check(config, options), memory=lambda: _memory(config, options))


def parser() -> argparse.ArgumentParser:
    """The options."""
    presets = ", ".join(sorted(path.stem for path in CONFIG_DIR.glob("*.yaml")))
    parser = argparse.ArgumentParser(
        prog="run_treepo_train.sh", description="Trains with TreePO on one node or many.", epilog=EPILOG
    )
    add = parser.add_argument
    add("--preset", "--config-name", default="treepo_trainer", help=f"one of {presets}, or of your own folder")
    add("--model", help="short for actor_rollout_ref.model.path=...")
    add("--train", action="append", default=[], metavar="FILE", help="short for data.train_files; may be repeated")
    add("--val", action="append", default=[], metavar="FILE", help="short for data.val_files; may be repeated")
    add("--accept-changes", action="store_true", help="go on with a run that had other options")
    add_options(parser)
    return parser


def prepare(
    options: argparse.Namespace, trainer: Sequence[str], environment: Mapping[str, str]
) -> tuple[Launch, DictConfig]:
    """Composes the configuration and finds this node's place.

    Args:
        options: The parsed command line.
        trainer: The trainer's command.
        environment: The environment variables.

    Returns:
        The launch, and the resolved configuration.

    Raises:
        ConfigError: Something is refused.
    """
    limits = limits_of(options)
    cluster = detect(environment)
    overrides = [*_shorthands(options), *options.overrides]
    config = compose(options.preset, overrides, config_dir=options.config_dir)
    overrides = with_nodes(
        overrides,
        cluster,
        option="trainer.nnodes",
        value=config.trainer.nnodes,
        extra=extra_nodes(config),
        dry_run=options.dry_run,
    )
    config = compose(options.preset, overrides, config_dir=options.config_dir)
    resolve(config)
    check_engine(config)
    job = Job(
        kind="training",
        log="train.log",
        command=(*trainer, "--config-name", options.preset, *preset_folder(options), *_accepted(options), *overrides),
        resources=Resources.of(config.ray_kwargs.ray_init),
        accelerators=config.trainer.n_gpus_per_node,
        accelerators_option="trainer.n_gpus_per_node",
        run_dir=Path(config.run_dir),
        checkpoints=Path(str(config.trainer.default_local_dir)),
        done=nothing_left(config) is not None,
    )
    return Launch(job=job, cluster=cluster, limits=limits), config


def _accepted(options: argparse.Namespace) -> list[str]:
    return ["--accept-changes"] if options.accept_changes else []


def _shorthands(options: argparse.Namespace) -> list[str]:
    words = []
    if options.model:
        words.append(f"actor_rollout_ref.model.path={hydra_quote(options.model)}")
    for files, option in ((options.train, "train_files"), (options.val, "val_files")):
        if files:
            words.append(f"data.{option}=[{','.join(map(hydra_quote, files))}]")
    return words


def _check(config: DictConfig, options: argparse.Namespace) -> list[str]:
    check_folder(os.environ)
    # As in the job itself: a preset for CPUs is checked as one, and verl takes its platform when it is imported.
    adopt_environment(config)
    # Only here: verl takes seconds to import.
    from treepo.start.checks import check

    warnings = check(config, accept_changes=options.accept_changes)
    done = nothing_left(config)
    return [*warnings, done] if done else warnings


def _memory(config: DictConfig, options: argparse.Namespace) -> str:
    shape = read_shape(Path(str(config.actor_rollout_ref.model.path)).expanduser(), options.model_shape)
    return str(estimate(config, shape, accelerator_gib=options.accelerator_gib))
