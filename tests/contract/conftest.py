"""One Ray cluster for all contract tests, and one vLLM server for those that leave it as they found it."""

from collections.abc import Iterator

import pytest
import torch
from omegaconf import DictConfig
from probe_server import Stack, running_cluster, serve
from tiny_stack import PRESET, write_tiny_model


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DictConfig]:
    with running_cluster(write_tiny_model(tmp_path_factory.mktemp("model")), servers=5) as config:
        yield config


@pytest.fixture(scope="session")
def stack(cluster: DictConfig) -> Stack:
    return serve(cluster, rank=0)


@pytest.fixture(scope="module")
def pair(cluster: DictConfig) -> Stack:
    """Two servers behind one balancer, for tests that break them."""
    if PRESET != "cpu_quickstart" and torch.cuda.device_count() < 4:
        pytest.skip("two more servers need accelerators of their own")
    return serve(cluster, rank=1, replicas=2)
