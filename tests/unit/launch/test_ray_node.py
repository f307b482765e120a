"""What of the environment a Ray node and the job inherit."""

import pytest

from treepo.launch.ray_node import cluster_environment

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
