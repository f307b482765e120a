"""What is launched, and how long things may take."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from treepo.launch.cluster import Cluster
from treepo.launch.nodes.ray_node import Resources


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
    """A training or an evaluation.

    Attributes:
        kind: What it is, for people: ``training``, ``evaluation``.
        log: Name of the file that gets all that it writes, over all starts of the run.
        command: Its command with its preset and options, without a cluster's address.
        resources: What every node offers to Ray.
        accelerators: How many a node must have.
        accelerators_option: The option that says so.
        run_dir: The run's folder.
        checkpoints: Where a trainer saves, and looks for a checkpoint to resume from; None for what has none.
        check_node: Refuses the machine of this node where the job would fail on it, with a `ConfigError`.
        done: Whether nothing is left to do; its own check says so, too.
    """

    kind: str
    log: str
    command: tuple[str, ...]
    resources: Resources
    accelerators: int
    accelerators_option: str
    run_dir: Path
    checkpoints: Path | None
    check_node: Callable[[], None]
    done: bool = False

    @property
    def resumes(self) -> str:
        """How the same command resumes."""
        if self.checkpoints is None:
            return f"the same command resumes in {self.run_dir}"
        return f"the same command resumes from the last checkpoint in {self.checkpoints}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A job, this node's place, and the limits."""

    job: Job
    cluster: Cluster
    limits: Limits
