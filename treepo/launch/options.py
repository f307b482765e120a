"""What the launchers' command lines share: limits, the dry run, and which node of how many this is."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from treepo.config import ConfigError
from treepo.launch.cluster import Cluster
from treepo.launch.nodes.job import Limits

_NONE: Mapping[str, int] = MappingProxyType({})
EPILOG = """
On many nodes give every node the same command. Nodes, rank and the head's address come from the variables of torchrun,
Slurm, MPI or Volcano; TREEPO_NNODES, TREEPO_NODE_RANK, TREEPO_HEAD and TREEPO_PORT win over them. See docs/launcher.md.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds what all launchers take."""
    add = parser.add_argument
    add("--config-dir", type=Path, default=None, help="a folder with presets of your own")
    add("--dry-run", action="store_true", help="print the configuration and the memory it expects, check, and stop")
    add("--model-shape", metavar="SHAPE", help="for --dry-run without the model: config.json, or hidden_size=...,...")
    add("--accelerator-gib", type=float, default=80.0, metavar="GIB", help="memory of one accelerator (80)")
    limits = Limits()
    add("--join-limit", type=float, default=limits.join, metavar="S", help=f"for all nodes to come ({limits.join:.0f})")
    add("--lost-limit", type=float, default=limits.lost, metavar="S", help=f"of a node's silence ({limits.lost:.0f})")
    add("--stop-limit", type=float, default=limits.stop, metavar="S", help=f"for processes to end ({limits.stop:.0f})")
    add("overrides", nargs="*", metavar="option=value", help="any option of TreePO or verl, as Hydra writes it")


def limits_of(options: argparse.Namespace) -> Limits:
    """The limits of a parsed command line.

    Raises:
        ConfigError: One is no time, or the accelerator's memory no size.
    """
    for name in ("join_limit", "lost_limit", "stop_limit", "accelerator_gib"):
        if getattr(options, name) <= 0:
            raise ConfigError(f"--{name.replace('_', '-')} must be above 0")
    return Limits(join=options.join_limit, lost=options.lost_limit, stop=options.stop_limit)


def preset_folder(options: argparse.Namespace) -> list[str]:
    """The words that hand the folder of presets on to the job."""
    return [] if options.config_dir is None else ["--config-dir", str(options.config_dir)]


def with_nodes(
    overrides: list[str], cluster: Cluster, *, option: str, value: int, extra: Mapping[str, int] = _NONE, dry_run: bool
) -> list[str]:
    """The overrides, with the number of nodes that the job has.

    The environment decides over a preset; what the user typed must agree with it.

    Args:
        overrides: As typed.
        cluster: This node's place.
        option: The option that holds the number of nodes.
        value: Its composed value.
        extra: Nodes that the job may take besides, by option; they may also be some of those.
        dry_run: Whether nothing is started.

    Raises:
        ConfigError: Option and environment contradict each other.
    """
    most, fewest = value + sum(extra.values()), max([value, *extra.values()])
    pools = " + ".join(f"{name}={count}" for name, count in {option: value, **extra}.items())
    typed = any(word.lstrip("+").startswith(f"{option}=") for word in overrides)
    if not cluster.named:
        if fewest != 1 and not dry_run:
            raise ConfigError(
                f"{pools} is refused: no scheduler's variable says which node this is; start the launcher "
                f"under one, set TREEPO_NNODES, TREEPO_NODE_RANK and TREEPO_HEAD on every node, or set {option}=1"
            )
        return overrides
    if fewest <= cluster.nodes <= most:
        return overrides
    if typed or extra:
        remedy = "" if typed else f"; set {option}"
        raise ConfigError(f"{pools} contradicts {cluster.source}{remedy}")
    return [*overrides, f"{option}={cluster.nodes}"]
