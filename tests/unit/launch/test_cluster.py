"""Every scheduler's variables give the node's place, and what contradicts itself is one clear line."""

from pathlib import Path

import pytest

from treepo.config import ConfigError
from treepo.launch.cluster import DEFAULT_PORT, Cluster, detect

TORCHRUN = {
    "MASTER_ADDR": "gpu7",
    "MASTER_PORT": "29500",
    "GROUP_RANK": "1",
    "GROUP_WORLD_SIZE": "3",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "1",
    "RANK": "1",
    "WORLD_SIZE": "3",
}
# One process per pod: the operator counts pods.
PYTORCH_JOB = {"MASTER_ADDR": "job-master-0", "MASTER_PORT": "23456", "WORLD_SIZE": "4", "RANK": "2"}
# With several processes per pod, newer operators count processes in WORLD_SIZE and nodes in PET_NNODES.
PYTORCH_JOB_V1_8 = PYTORCH_JOB | {
    "WORLD_SIZE": "16",
    "PET_NNODES": "4",
    "PET_NODE_RANK": "2",
    "PET_NPROC_PER_NODE": "4",
}
PLATFORM = {"MASTER_ADDR": "10.0.0.1", "NNODES": "2", "NODE_RANK": "0", "NPROC_PER_NODE": "8"}
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_NNODES": "3",
    "SLURM_NODEID": "2",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_TASKS_PER_NODE": "1(x3)",
    "SLURM_JOB_NODELIST": "gpu[08-09,11]",
    "SLURM_LAUNCH_NODE_IPADDR": "10.9.9.9",
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "MASTER_ADDR": "mpi-worker-0",
}
HYDRA = {"PMI_SIZE": "2", "PMI_RANK": "0", "MPI_LOCALNRANKS": "1", "MPI_LOCALRANKID": "0", "MASTER_ADDR": "node0"}
VOLCANO = {
    "VC_TASK_INDEX": "1",
    "VK_TASK_INDEX": "1",
    "VC_WORKER_HOSTS": "tree-worker-0.tree,tree-worker-1.tree",
    "VC_WORKER_NUM": "2",
}
VOLCANO_TWO_TASKS = {
    "VC_TASK_INDEX": "0",
    "VK_TASK_INDEX": "0",
    "VC_MASTER_HOSTS": "tree-master-0.tree",
    "VC_WORKER_HOSTS": "tree-worker-0.tree,tree-worker-1.tree",
}
SKYPILOT = {
    "SKYPILOT_NUM_NODES": "2",
    "SKYPILOT_NODE_RANK": "1",
    "SKYPILOT_NODE_IPS": "10.0.0.4\n10.0.0.5",
    "SKYPILOT_NUM_GPUS_PER_NODE": "8",
}
# Its pytorch plugin adds these; a worker's rank is its index and one.
VOLCANO_PYTORCH = VOLCANO_TWO_TASKS | {"MASTER_ADDR": "tree-master-0.tree", "WORLD_SIZE": "3", "RANK": "1"}


def place(environment: dict[str, str], hostname: str = "here") -> tuple[int, int, str]:
    found = detect(environment, hostname=hostname)
    return found.nodes, found.rank, found.head


def refusal(environment: dict[str, str], hostname: str = "here") -> str:
    with pytest.raises(ConfigError) as error:
        detect(environment, hostname=hostname)
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (TORCHRUN, (3, 1, "gpu7")),
        (PYTORCH_JOB, (4, 2, "job-master-0")),
        (PYTORCH_JOB_V1_8, (4, 2, "job-master-0")),
        (PLATFORM, (2, 0, "10.0.0.1")),
        (SLURM, (3, 2, "gpu08")),
        (SLURM | TORCHRUN | {"SLURM_NODEID": "1"}, (3, 1, "gpu7")),
        (OPEN_MPI, (2, 1, "mpi-worker-0")),
        (HYDRA, (2, 0, "node0")),
        (VOLCANO, (2, 1, "tree-worker-0.tree")),
        (SKYPILOT, (2, 1, "10.0.0.4")),
    ],
    ids=[
        "torchrun",
        "pytorchjob",
        "pytorchjob_pet",
        "platform",
        "slurm",
        "slurm_torchrun",
        "openmpi",
        "hydra",
        "volcano",
        "skypilot",
    ],
)
def test_a_schedulers_variables_give_nodes_rank_and_head(
    environment: dict[str, str], expected: tuple[int, int, str]
) -> None:
    assert place(environment) == expected


def test_nothing_set_is_one_node_that_nothing_named() -> None:
    assert detect({"MASTER_ADDR": "left-over", "HOME": "/"}) == Cluster()
    assert not detect({}).named


@pytest.mark.parametrize(
    "environment", [{"WORLD_SIZE": "1", "RANK": "0"}, {"SLURM_NNODES": "1"}, {"TREEPO_NNODES": "1"}]
)
def test_one_node_needs_neither_rank_nor_head(environment: dict[str, str]) -> None:
    assert place(environment) == (1, 0, "")
    assert detect(environment).named


def test_a_step_on_part_of_an_allocation_counts_its_own_nodes() -> None:
    step = {"SLURM_STEP_NUM_NODES": "2", "SLURM_STEP_NODELIST": "gpu[09,11]", "SLURM_NODEID": "0"}
    assert place(SLURM | step) == (2, 0, "gpu09")


def test_where_srun_was_called_counts_only_without_a_list() -> None:
    without = {name: value for name, value in SLURM.items() if name != "SLURM_JOB_NODELIST"}
    assert place(without) == (3, 2, "10.9.9.9")


@pytest.mark.parametrize(
    ("hostname", "index", "rank"),
    [("tree-master-0", "0", 0), ("tree-worker-0", "0", 1), ("tree-worker-1.tree.space.svc", "1", 2)],
)
def test_volcano_pods_of_several_tasks_find_themselves_by_host_name(hostname: str, index: str, rank: int) -> None:
    environment = VOLCANO_TWO_TASKS | {"VC_TASK_INDEX": index, "VK_TASK_INDEX": index}
    assert place(environment, hostname) == (3, rank, "tree-master-0.tree")


def test_volcanos_pytorch_plugin_agrees_with_its_lists() -> None:
    assert place(VOLCANO_PYTORCH, "tree-worker-0") == (3, 1, "tree-master-0.tree")


def test_volcanos_pytorch_plugin_alone_is_enough() -> None:
    environment = {name: value for name, value in VOLCANO_PYTORCH.items() if not name.endswith("_HOSTS")}
    assert place(environment) == (3, 1, "tree-master-0.tree")


def test_mpi_reads_the_head_from_a_host_file(tmp_path: Path) -> None:
    hosts = tmp_path / "hostfile"
    hosts.write_text("# by the operator\nmpi-worker-0.mpi slots=8\nmpi-worker-1.mpi slots=8\n")
    environment = {**OPEN_MPI, "OMPI_MCA_orte_default_hostfile": str(hosts)}
    del environment["MASTER_ADDR"]
    assert place(environment) == (2, 1, "mpi-worker-0.mpi")


@pytest.mark.parametrize("own", [{"TREEPO_NNODES": "5"}, {"TREEPO_NODE_RANK": "0"}, {"TREEPO_HEAD": "own"}])
def test_each_explicit_variable_wins_for_itself(own: dict[str, str]) -> None:
    nodes, rank, head = place(TORCHRUN | own)
    assert (nodes, rank, head) == (
        int(own.get("TREEPO_NNODES", "3")),
        int(own.get("TREEPO_NODE_RANK", "1")),
        own.get("TREEPO_HEAD", "gpu7"),
    )


def test_a_full_set_of_explicit_variables_settles_what_schedulers_leave_open() -> None:
    own = {"TREEPO_NNODES": "2", "TREEPO_NODE_RANK": "1", "TREEPO_HEAD": "own", "TREEPO_PORT": "4000"}
    found = detect(TORCHRUN | SLURM | {"LOCAL_WORLD_SIZE": "8"} | own)
    assert (found.nodes, found.rank, found.head, found.port) == (2, 1, "own", 4000)


def test_another_jobs_port_is_not_taken_for_ours() -> None:
    assert detect(TORCHRUN).port == DEFAULT_PORT


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (TORCHRUN | {"NODE_RANK": "2"}, ["GROUP_RANK=1", "NODE_RANK=2"]),
        (TORCHRUN | SLURM, ["GROUP_RANK=1", "SLURM_NODEID=2", "TREEPO_NODE_RANK"]),
        (PLATFORM | SLURM | {"SLURM_NODEID": "0"}, ["NNODES=2", "SLURM_NNODES=3"]),
        (SLURM | {"SLURM_NNODES": "4"}, ["SLURM_NNODES=4", "SLURM_JOB_NODELIST=gpu[08-09,11]", "names 3"]),
        (VOLCANO | {"VK_TASK_INDEX": "0"}, ["VC_TASK_INDEX=1", "VK_TASK_INDEX=0"]),
        (PLATFORM | {"NODE_RANK": "2"}, ["NODE_RANK=2", "NNODES=2", "0 to 1"]),
    ],
)
def test_what_contradicts_itself_is_named(environment: dict[str, str], words: list[str]) -> None:
    text = refusal(environment)
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"NNODES": "2"}, ["NNODES=2", "nothing says which node this is"]),
        ({"NODE_RANK": "1"}, ["NODE_RANK=1", "nothing says how many nodes"]),
        ({"NNODES": "2", "NODE_RANK": "1"}, ["NNODES=2", "NODE_RANK=1", "MASTER_ADDR or TREEPO_HEAD"]),
        ({"SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "n[1-2]"}, ["SLURM_NNODES=2", "srun"]),
        ({"VC_TASK_INDEX": "1"}, ["VC_TASK_INDEX=1", "nothing says how many nodes"]),
        (VOLCANO_TWO_TASKS, ["VC_TASK_INDEX=0", "VC_MASTER_HOSTS", "here", "TREEPO_NODE_RANK"]),
        ({"PET_NNODES": "1:4", "PET_NODE_RANK": "0"}, ["PET_NNODES=1:4", "no whole number"]),
        ({"NNODES": "0", "NODE_RANK": "0"}, ["NNODES=0"]),
        ({"TREEPO_PORT": "70000"}, ["TREEPO_PORT=70000"]),
    ],
)
def test_what_is_left_open_is_named(environment: dict[str, str], words: list[str]) -> None:
    text = refusal(environment)
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        (TORCHRUN | {"LOCAL_WORLD_SIZE": "8", "WORLD_SIZE": "24"}, "LOCAL_WORLD_SIZE=8"),
        (TORCHRUN | {"LOCAL_RANK": "3"}, "LOCAL_RANK=3"),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "8(x3)"}, "SLURM_STEP_TASKS_PER_NODE=8"),
        (SLURM | {"SLURM_LOCALID": "1"}, "SLURM_LOCALID=1"),
        (OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, "OMPI_COMM_WORLD_LOCAL_SIZE=2"),
        (HYDRA | {"MPI_LOCALNRANKS": "2"}, "MPI_LOCALNRANKS=2"),
    ],
)
def test_several_launchers_on_one_node_are_refused(environment: dict[str, str], word: str) -> None:
    text = refusal(environment)
    assert word in text
    assert "once per node" in text


# What sbatch sets for its script, which runs on the first node alone.
BATCH_SCRIPT = {
    "SLURM_JOB_ID": "7",
    "SLURM_NNODES": "3",
    "SLURM_NODEID": "0",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_JOB_NODELIST": "gpu[08-09,11]",
}
STEP = {"SLURM_STEP_NUM_NODES": "3", "SLURM_STEP_NODELIST": "gpu[08-09,11]"}


def test_a_batch_script_without_srun_is_told_of_it_where_nodes_do_not_come() -> None:
    assert place(BATCH_SCRIPT) == (3, 0, "gpu08")
    assert detect(BATCH_SCRIPT, hostname="gpu08").hint.endswith("started with srun --ntasks-per-node=1")


@pytest.mark.parametrize(
    "environment", [SLURM | STEP, TORCHRUN, BATCH_SCRIPT | STEP], ids=["srun", "torchrun", "first"]
)
def test_no_other_cluster_is_told_of_srun(environment: dict[str, str]) -> None:
    assert detect(environment, hostname="here").hint == ""
