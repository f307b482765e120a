"""The launcher's command line."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from treepo.compose import CONFIG_DIR, compose, resolve
from treepo.config import ConfigError
from treepo.launch.cluster import Cluster, detect
from treepo.launch.job import Job, Launch, Limits
from treepo.launch.memory import estimate
from treepo.launch.model_shape import read_shape
from treepo.launch.ray_node import Resources
from treepo.launch.run import REFUSED, run

_EPILOG = """
On many nodes give every node the same command. Nodes, rank and the head's address come from the variables of torchrun,
Slurm, MPI or Volcano; TREEPO_NNODES, TREEPO_NODE_RANK, TREEPO_HEAD and TREEPO_PORT win over them. See docs/launcher.md.
"""


def main(trainer: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Launches, or with ``--dry-run`` says what would be launched.

    Args:
        trainer: The trainer's command; it takes ``--config-name``, ``--config-dir``, ``--check`` and overrides.
        arguments: The command line, without the program's name; None for the process's own.

    Returns:
        The exit status.
    """
    options = parser().parse_intermixed_args(arguments)
    try:
        launch, config = prepare(options, trainer, os.environ)
        if not options.dry_run:
            return run(launch)
        sys.stdout.write(OmegaConf.to_yaml(config))
        shape = read_shape(Path(str(config.actor_rollout_ref.model.path)).expanduser(), options.model_shape)
        sys.stdout.write(f"\n{estimate(config, shape, accelerator_gib=options.accelerator_gib)}\n\n")
        sys.stdout.flush()
        _check(config)
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return REFUSED
    return 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    presets = ", ".join(sorted(path.stem for path in CONFIG_DIR.glob("*.yaml")))
    parser = argparse.ArgumentParser(
        prog="run_treepo_train.sh", description="Trains with TreePO on one node or many.", epilog=_EPILOG
    )
    add = parser.add_argument
    add("--preset", "--config-name", default="treepo_trainer", help=f"one of {presets}, or of your own folder")
    add("--config-dir", type=Path, default=None, help="a folder with presets of your own")
    add("--model", help="short for actor_rollout_ref.model.path=...")
    add("--train", action="append", default=[], metavar="FILE", help="short for data.train_files; may be repeated")
    add("--val", action="append", default=[], metavar="FILE", help="short for data.val_files; may be repeated")
    add("--dry-run", action="store_true", help="print the configuration and the memory it expects, check, and stop")
    add("--model-shape", metavar="SHAPE", help="for --dry-run without the model: config.json, or hidden_size=...,...")
    add("--accelerator-gib", type=float, default=80.0, metavar="GIB", help="memory of one accelerator (80)")
    limits = Limits()
    add("--join-limit", type=float, default=limits.join, metavar="S", help=f"for all nodes to come ({limits.join:.0f})")
    add("--lost-limit", type=float, default=limits.lost, metavar="S", help=f"of a node's silence ({limits.lost:.0f})")
    add("--stop-limit", type=float, default=limits.stop, metavar="S", help=f"for processes to end ({limits.stop:.0f})")
    add("overrides", nargs="*", metavar="option=value", help="any option of TreePO or verl, as Hydra writes it")
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
    for name in ("join_limit", "lost_limit", "stop_limit", "accelerator_gib"):
        if getattr(options, name) <= 0:
            raise ConfigError(f"--{name.replace('_', '-')} must be above 0")
    cluster = detect(environment)
    overrides = [*_shorthands(options), *options.overrides]
    config = compose(options.preset, overrides, config_dir=options.config_dir)
    overrides = _with_nodes(config, overrides, cluster, dry_run=options.dry_run)
    config = compose(options.preset, overrides, config_dir=options.config_dir)
    resolve(config)
    folder = [] if options.config_dir is None else ["--config-dir", str(options.config_dir)]
    job = Job(
        command=(*trainer, "--config-name", options.preset, *folder, *overrides),
        resources=Resources.of(config.ray_kwargs.ray_init),
        accelerators=config.trainer.n_gpus_per_node,
        run_dir=Path(config.run_dir),
        checkpoints=Path(str(config.trainer.default_local_dir)),
    )
    limits = Limits(join=options.join_limit, lost=options.lost_limit, stop=options.stop_limit)
    return Launch(job=job, cluster=cluster, limits=limits), config


def _shorthands(options: argparse.Namespace) -> list[str]:
    words = []
    if options.model:
        words.append(f"actor_rollout_ref.model.path={json.dumps(options.model)}")
    for files, option in ((options.train, "train_files"), (options.val, "val_files")):
        if files:
            words.append(f"data.{option}={json.dumps(files)}")
    return words


def _with_nodes(config: DictConfig, overrides: list[str], cluster: Cluster, *, dry_run: bool) -> list[str]:
    """The overrides, with the number of nodes that the job has.

    The environment decides over a preset; what the user typed must agree with it.
    """
    # Rollout on nodes of its own takes them besides the trainer's.
    extra = OmegaConf.select(config, "actor_rollout_ref.rollout.nnodes") or 0
    wanted = config.trainer.nnodes + extra
    typed = any(word.lstrip("+").startswith("trainer.nnodes=") for word in overrides)
    if not cluster.named:
        if wanted != 1 and not dry_run:
            raise ConfigError(
                f"trainer.nnodes={config.trainer.nnodes} is refused: no scheduler's variable says which node this is; "
                "start the launcher under one, set TREEPO_NNODES, TREEPO_NODE_RANK and TREEPO_HEAD on every node, or "
                "set trainer.nnodes=1"
            )
        return overrides
    if wanted == cluster.nodes:
        return overrides
    if typed or extra:
        raise ConfigError(f"trainer.nnodes={config.trainer.nnodes} (+{extra} for rollout) contradicts {cluster.source}")
    return [*overrides, f"trainer.nnodes={cluster.nodes}"]


def _check(config: DictConfig) -> None:
    from treepo.verl.preflight import check

    for warning in check(config):
        sys.stderr.write(f"warning: {warning}\n")
