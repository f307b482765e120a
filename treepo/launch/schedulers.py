"""What each kind of scheduler says, in its environment variables, about the nodes of a job.

Sources: torchrun (torch/distributed/run.py), Kubeflow's PyTorchJob and Volcano's pytorch plugin (their controllers),
Slurm's srun manual, Open MPI's "Environment variables set for MPI applications", MPICH's Hydra, and Volcano's env and
svc plugins, and SkyPilot's "Distributed Multi-Node Jobs".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from treepo.config import ConfigError
from treepo.launch.nodelist import expand_nodelist

Environment = Mapping[str, str]
T = TypeVar("T")

_VOLCANO_HOSTS = re.compile(r"VC_(?P<task>.+)_HOSTS")
# A process's place in a job that is not the trainer's: its own workers would take it for theirs, and with torchrun's
# store wait for ever.
PROCESS_VARIABLES = re.compile(
    r"MASTER_(ADDR|PORT)|((LOCAL|GROUP|ROLE)_)?(RANK|WORLD_SIZE)|ROLE_NAME|NNODES|NODE_RANK|NPROC_PER_NODE|"
    r"(PET|TORCHELASTIC|OMPI_COMM_WORLD|PMI|PMIX)_\w+|MPI_LOCALRANKID|MPI_LOCALNRANKS"
)
# Volcano's tasks have free names; the one with rank 0 usually has one of these.
_FIRST_TASKS = ("MASTER", "HEAD", "CHIEF", "LAUNCHER")
_HOST_FILES = ("OMPI_MCA_orte_default_hostfile", "PRTE_MCA_prte_default_hostfile", "I_MPI_HYDRA_HOST_FILE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact(Generic[T]):
    """A value and the variable that says it."""

    value: T
    variable: str

    def __str__(self) -> str:
        """As in a shell."""
        return f"{self.variable}={self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one scheduler says; None where it says nothing."""

    nodes: Fact[int] | None = None
    rank: Fact[int] | None = None
    head: Fact[str] | None = None


def number(environment: Environment, *names: str) -> Fact[int] | None:
    """The first of some variables that is set, as a whole number.

    Raises:
        ConfigError: It is none, or below 0.
    """
    for name in names:
        if text := environment.get(name, "").strip():
            if not text.isdecimal():
                raise ConfigError(
                    f"{name}={text} is no whole number; set TREEPO_NNODES, TREEPO_NODE_RANK and TREEPO_HEAD yourself"
                )
            return Fact(value=int(text), variable=name)
    return None


def agreed(environment: Environment, *names: str) -> Fact[int] | None:
    """As ``number``, where several variables have one meaning.

    Raises:
        ConfigError: Two of them differ.
    """
    facts = [fact for name in names if (fact := number(environment, name))]
    for other in facts[1:]:
        if other.value != facts[0].value:
            raise ConfigError(f"{facts[0]} contradicts {other}; unset one, or let TREEPO_* variables decide")
    return facts[0] if facts else None


def _word(environment: Environment, *names: str) -> Fact[str] | None:
    found = ((name, environment.get(name, "").strip()) for name in names)
    return next((Fact(value=text, variable=name) for name, text in found if text), None)


def _refuse_many_per_node(fact: Fact[int] | None, *, most: int, remedy: str) -> None:
    if fact is not None and fact.value > most:
        raise ConfigError(f"{fact}: the launcher runs once per node, and starts all processes of it itself; {remedy}")


def torch(environment: Environment, hostname: str) -> Claim:
    """torchrun, Kubeflow's PyTorchJob, Volcano's pytorch plugin, and platforms that follow them.

    ``WORLD_SIZE`` and ``RANK`` count processes; with one launcher per node those are nodes. Variables that count nodes
    go first.
    """
    remedy = "torchrun needs --nproc-per-node=1"
    _refuse_many_per_node(number(environment, "LOCAL_WORLD_SIZE"), most=1, remedy=remedy)
    _refuse_many_per_node(number(environment, "LOCAL_RANK"), most=0, remedy=remedy)
    nodes = agreed(environment, "GROUP_WORLD_SIZE", "NNODES", "PET_NNODES")
    rank = agreed(environment, "GROUP_RANK", "NODE_RANK", "PET_NODE_RANK")
    if nodes is None and rank is None:
        nodes, rank = number(environment, "WORLD_SIZE"), number(environment, "RANK")
    return Claim(
        nodes=nodes or number(environment, "WORLD_SIZE"),
        rank=rank or number(environment, "RANK"),
        head=_word(environment, "MASTER_ADDR", "PET_MASTER_ADDR"),
    )


def slurm(environment: Environment, hostname: str) -> Claim:
    """Slurm, under ``srun``; the first host of the step's list is node 0.

    ``SLURM_LAUNCH_NODE_IPADDR`` is where ``srun`` was called, which can be a login node: it counts only without a list.
    """
    remedy = "start it with srun --ntasks-per-node=1"
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", "")
    if match := re.match(r"\d+", tasks):
        per_node = Fact(value=int(match[0]), variable="SLURM_STEP_TASKS_PER_NODE")
        _refuse_many_per_node(per_node, most=1, remedy=remedy)
    _refuse_many_per_node(number(environment, "SLURM_LOCALID"), most=0, remedy=remedy)
    nodes = number(environment, "SLURM_STEP_NUM_NODES", "SLURM_NNODES", "SLURM_JOB_NUM_NODES")
    head = _word(environment, "SLURM_LAUNCH_NODE_IPADDR")
    hosts = _word(environment, "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")
    if hosts is not None:
        names = expand_nodelist(hosts.value)
        if nodes is not None and len(names) != nodes.value:
            raise ConfigError(f"{nodes} contradicts {hosts}, which names {len(names)}; let TREEPO_* variables decide")
        nodes = nodes or Fact(value=len(names), variable=hosts.variable)
        head = Fact(value=names[0], variable=hosts.variable)
    return Claim(nodes=nodes, rank=number(environment, "SLURM_NODEID"), head=head)


def mpi(environment: Environment, hostname: str) -> Claim:
    """``mpirun`` of Open MPI, MPICH and Intel MPI, also under an MPI operator.

    MPI names no address; the first host of the host file has rank 0, where the process sees that file.
    """
    remedy = "start one per node: mpirun --map-by ppr:1:node, or mpiexec -ppn 1"
    _refuse_many_per_node(number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"), most=1, remedy=remedy)
    nodes, rank = (
        agreed(environment, "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"),
        agreed(environment, "OMPI_COMM_WORLD_RANK", "PMI_RANK"),
    )
    head = None
    file = _word(environment, *_HOST_FILES)
    if nodes is not None and file is not None and Path(file.value).is_file():
        lines = (line.split("#")[0].split() for line in Path(file.value).read_text().splitlines())
        first = next((line[0].split(":")[0] for line in lines if line), None)
        head = Fact(value=first, variable=file.variable) if first else None
    return Claim(nodes=nodes, rank=rank, head=head)


def volcano(environment: Environment, hostname: str) -> Claim:
    """Volcano's env plugin (a pod's index within its task) and svc plugin (the hosts of every task).

    With several tasks the index alone is ambiguous: a pod then finds itself in the lists by its host name, and tasks
    named as a master come first, as in Volcano's pytorch plugin.
    """
    index = agreed(environment, "VC_TASK_INDEX", "VK_TASK_INDEX")
    lists = {
        match["task"]: text.split(",")
        for name, text in environment.items()
        if text and (match := _VOLCANO_HOSTS.fullmatch(name))
    }
    if index is None:
        return Claim()
    if not lists:
        # Volcano's pytorch plugin has said all; its workers' ranks are not their indices.
        return Claim() if environment.get("RANK") else Claim(rank=index)
    tasks = sorted(lists, key=lambda task: (_FIRST_TASKS.index(task) if task in _FIRST_TASKS else 99, task))
    hosts = [host.strip() for task in tasks for host in lists[task]]
    names = ", ".join(f"VC_{task}_HOSTS" for task in tasks)
    rank = index
    if len(tasks) > 1:
        own = [place for place, host in enumerate(hosts) if host.split(".")[0] == hostname.split(".")[0]]
        if len(own) != 1:
            raise ConfigError(f"{index} is ambiguous: {names} do not name this host, {hostname}; set TREEPO_NODE_RANK")
        rank = Fact(value=own[0], variable=f"{index.variable} in {names}")
    return Claim(nodes=Fact(value=len(hosts), variable=names), rank=rank, head=Fact(value=hosts[0], variable=names))


def skypilot(environment: Environment, hostname: str) -> Claim:
    """SkyPilot, which numbers the nodes in the order of their addresses."""
    addresses = environment.get("SKYPILOT_NODE_IPS", "").split()
    return Claim(
        nodes=number(environment, "SKYPILOT_NUM_NODES"),
        rank=number(environment, "SKYPILOT_NODE_RANK"),
        head=Fact(value=addresses[0], variable="SKYPILOT_NODE_IPS") if addresses else None,
    )


SCHEDULERS = (torch, slurm, volcano, mpi, skypilot)
