"""One Ray cluster for all contract tests, and one vLLM server for those that leave it as they found it.

What imports vLLM is imported where it is used: the packed engine's tests need none.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import torch
from omegaconf import DictConfig

if TYPE_CHECKING:
    from probe_server import Stack


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DictConfig]:
    from probe_server import running_cluster
    from tiny_stack import MODEL_KIND, write_tiny_model

    model = write_tiny_model(tmp_path_factory.mktemp("model"), kind=MODEL_KIND)
    with running_cluster(model, servers=5) as config:
        yield config


@pytest.fixture(scope="session")
def stack(cluster: DictConfig) -> "Stack":
    from probe_server import serve

    return serve(cluster, rank=0)


@pytest.fixture(scope="module")
def pair(cluster: DictConfig) -> "Stack":
    """Two servers behind one balancer, for tests that break them."""
    from probe_server import serve
    from tiny_stack import PRESET

    if PRESET != "cpu_quickstart" and torch.cuda.device_count() < 4:
        pytest.skip("two more servers need accelerators of their own")
    return serve(cluster, rank=1, replicas=2)
