"""What of the environment a Ray node and the job inherit."""

import socket
import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest

from treepo.config import ConfigError
from treepo.launch.nodes.ray_node import check_folder, cluster_environment
from treepo.start.machine import _SOCKET, check_ray_folder

PLACES = (
    *("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK"),
    *("GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "ROLE_NAME", "NNODES", "NODE_RANK", "PET_NNODES", "PET_NPROC_PER_NODE"),
    *("TORCHELASTIC_USE_AGENT_STORE", "TORCHELASTIC_RUN_ID", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    *("PMI_RANK", "PMI_SIZE", "PMIX_RANK", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
)
KEPT = ("PATH", "HF_HOME", "NCCL_SOCKET_IFNAME", "SLURM_JOB_ID", "PETSC_DIR", "WANDB_API_KEY", "CUDA_VISIBLE_DEVICES")


def test_a_process_place_in_the_schedulers_job_is_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PLACES, *KEPT, "RAY_ADDRESS"):
        monkeypatch.setenv(name, "1")
    found = cluster_environment("secret")
    assert [name for name in (*PLACES, "RAY_ADDRESS") if name in found] == []
    assert [name for name in KEPT if found.get(name) != "1"] == []


def test_the_cluster_has_a_token_unless_the_user_chose_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    found = cluster_environment("secret")
    assert (found["RAY_AUTH_MODE"], found["RAY_AUTH_TOKEN"]) == ("token", "secret")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert cluster_environment("secret")["RAY_AUTH_MODE"] == "disabled"
    assert "secret" not in cluster_environment("secret").values()


# --- the folder of Ray's sockets


def test_a_folder_too_long_for_sockets_is_refused_with_the_remedy() -> None:
    slurm = "/scratch/slurm_jobs/user_directory/job_1355700/temporary"
    with pytest.raises(ConfigError, match=rf"RAY_TMPDIR={slurm} is refused: .*; set RAY_TMPDIR to a short folder"):
        check_folder({"RAY_TMPDIR": slurm})
    with pytest.raises(ConfigError, match=rf"^TMPDIR={slurm} is refused"):
        check_ray_folder({"TMPDIR": slurm}, "RAY_TMPDIR", "TMPDIR", below="ray")
    check_ray_folder({"TMPDIR": slurm, "RAY_TMPDIR": "/tmp"}, "RAY_TMPDIR", "TMPDIR", below="ray")
    check_folder({"TMPDIR": slurm})
    check_folder({})


@pytest.mark.parametrize("letter", ["x", "é"])
def test_the_limit_is_the_systems_in_bytes(letter: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as base, socket.socket(socket.AF_UNIX) as server:
        room = 107 - len(f"{base}//ray/{_SOCKET}".encode())
        size = len(letter.encode())
        fits = f"{base}/{letter * (room // size)}{'x' * (room % size)}"
        assert len(f"{fits}/ray/{_SOCKET}".encode()) == 107
        check_ray_folder({"TMPDIR": fits}, "TMPDIR", below="ray")
        with pytest.raises(ConfigError, match="it is 1 bytes too long"):
            check_ray_folder({"TMPDIR": f"{fits}x"}, "TMPDIR", below="ray")
        for root in (f"{fits}x", fits):
            path = Path(root, "ray", _SOCKET)
            path.parent.mkdir(parents=True)
            with nullcontext() if root == fits else pytest.raises(OSError, match="too long"):
                server.bind(str(path))
