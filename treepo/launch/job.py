"""What is launched, and how long things may take."""

from dataclasses import dataclass
from pathlib import Path

from treepo.launch.cluster import Cluster
from treepo.launch.ray_node import Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Seconds after which something counts as failed.

    Attributes:
        join: From the start until all nodes and accelerators are there.
        lost: Without a word from another node.
        stop: For the job, or Ray, to end when told to.
    """

    join: float = 600.0
    lost: float = 60.0
    stop: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A training.

    Attributes:
        command: The trainer's command with its preset and options, without a cluster's address.
        resources: What every node offers to Ray.
        accelerators: How many a node must have.
        run_dir: The run's folder.
        checkpoints: Where the trainer saves, and looks for a checkpoint to go on from.
    """

    command: tuple[str, ...]
    resources: Resources
    accelerators: int
    run_dir: Path
    checkpoints: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A job, this node's place, and the limits."""

    job: Job
    cluster: Cluster
    limits: Limits
