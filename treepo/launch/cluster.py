"""Which node of how many this is, and where node 0 is found."""

import socket
from dataclasses import dataclass
from typing import TypeVar

from treepo.config import ConfigError
from treepo.launch.schedulers import SCHEDULERS, Claim, Environment, Fact, number

DEFAULT_PORT = 29571
T = TypeVar("T")
_DECIDE = "set TREEPO_NNODES, TREEPO_NODE_RANK and TREEPO_HEAD on every node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A node's place in its cluster.

    Attributes:
        nodes: How many nodes there are.
        rank: Which of them this is, from 0; node 0 is the head.
        head: Host or address of node 0; empty with one node.
        port: Where the launcher of node 0 listens.
        source: The variables that said so; empty where none did.
    """

    nodes: int = 1
    rank: int = 0
    head: str = ""
    port: int = DEFAULT_PORT
    source: str = ""

    @property
    def named(self) -> bool:
        """Whether the environment named a cluster at all."""
        return bool(self.source)

    @property
    def hint(self) -> str:
        """Why other nodes may not come, as the end of a sentence; empty where nothing speaks for it.

        Slurm calls a batch script rank 0 as well, but only what ``srun`` starts is in a step.
        """
        batch = "SLURM_NODEID" in self.source and "SLURM_STEP_" not in self.source
        return "; under Slurm it is started with srun --ntasks-per-node=1" if batch else ""


def detect(environment: Environment, *, hostname: str | None = None) -> Cluster:
    """Reads the place of this node from the environment.

    ``TREEPO_NNODES``, ``TREEPO_NODE_RANK``, ``TREEPO_HEAD`` and ``TREEPO_PORT`` win, each for itself; then the
    variables of torchrun, Slurm, Volcano and MPI, which must agree where several are there.

    Args:
        environment: The environment variables.
        hostname: This host's own name; None asks the system.

    Raises:
        ConfigError: Variables contradict each other, or leave something open; one line that names them.
    """
    port = number(environment, "TREEPO_PORT")
    if port is not None and not 0 < port.value < 65536:
        raise ConfigError(f"{port} is no port")
    place = port.value if port else DEFAULT_PORT
    own = Claim(
        nodes=number(environment, "TREEPO_NNODES"),
        rank=number(environment, "TREEPO_NODE_RANK"),
        head=Fact(value=text, variable="TREEPO_HEAD") if (text := environment.get("TREEPO_HEAD", "").strip()) else None,
    )
    decided = own.nodes is not None and (own.nodes.value == 1 or (own.rank is not None and own.head is not None))
    others = [] if decided else [read(environment, hostname or socket.gethostname()) for read in SCHEDULERS]
    nodes = own.nodes or _common([claim.nodes for claim in others])
    rank = own.rank or _common([claim.rank for claim in others])
    head = own.head or next((claim.head for claim in others if claim.head), None)
    if nodes is None and rank is None:
        return Cluster(port=place)
    return _complete(nodes, rank, head, place)


def _common(facts: list[Fact[T] | None]) -> Fact[T] | None:
    said = [fact for fact in facts if fact is not None]
    for other in said[1:]:
        if other.value != said[0].value:
            raise ConfigError(f"{said[0]} contradicts {other}; {_DECIDE}")
    return said[0] if said else None


def _complete(nodes: Fact[int] | None, rank: Fact[int] | None, head: Fact[str] | None, port: int) -> Cluster:
    if nodes is None:
        raise ConfigError(f"{rank} is set, but nothing says how many nodes there are; {_DECIDE}")
    if nodes.value == 0:
        raise ConfigError(f"{nodes} is refused: there must be at least one node")
    if rank is not None and rank.value >= nodes.value:
        raise ConfigError(f"{rank} contradicts {nodes}: ranks run from 0 to {nodes.value - 1}; {_DECIDE}")
    if nodes.value == 1:
        return Cluster(port=port, source=str(nodes))
    if rank is None:
        raise ConfigError(f"{nodes}, but nothing says which node this is (under Slurm: start it with srun); {_DECIDE}")
    if head is None:
        raise ConfigError(
            f"{nodes} and {rank}, but nothing names the host of rank 0; set MASTER_ADDR or TREEPO_HEAD to it, on every "
            "node"
        )
    return Cluster(nodes=nodes.value, rank=rank.value, head=head.value, port=port, source=f"{nodes}, {rank}, {head}")
