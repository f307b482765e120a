"""What both launchers are given, and which node of how many this is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from treepo.config import ConfigError
from treepo.launch.cluster import Cluster
from treepo.launch.nodes.job import Limits

_NONE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A launcher's options.

    Attributes:
        preset: The preset's name.
        overrides: Overrides of the preset, as Hydra writes them.
        config_dir: A folder with further presets.
        accept_changes: Whether a training resumes a run that had other options.
        limits: How long things may take.
    """

    preset: str
    overrides: tuple[str, ...] = ()
    config_dir: Path | None = None
    accept_changes: bool = False
    limits: Limits = field(default_factory=Limits)

    def command(self, job: tuple[str, ...], overrides: list[str]) -> tuple[str, ...]:
        """The job's command.

        Args:
            job: What runs it: a program that takes ``--preset``, ``--config-dir`` and overrides.
            overrides: Those of this node.
        """
        folder = [] if self.config_dir is None else ["--config-dir", str(self.config_dir)]
        accepted = ["--accept-changes"] if self.accept_changes else []
        return (*job, "--preset", self.preset, *folder, *accepted, *overrides)


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
