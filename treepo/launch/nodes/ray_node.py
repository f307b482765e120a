"""One Ray node, in a folder and on ports of its own, that ends with the launcher.

``ray stop`` ends every Ray process of the machine, also those of others. ``ray start --block`` is the parent of its
node's processes and takes them along when it ends, so the node is that one child.
"""

import os
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from treepo.launch.nodes.loop import Loop
from treepo.launch.nodes.processes import Child
from treepo.launch.schedulers import PROCESS_VARIABLES
from treepo.start.machine import check_ray_folder

# Ray writes the cluster's address here once a node has joined.
_ADDRESS_FILE = "ray_current_cluster"
RANK_LABEL = "treepo-rank"
# Not below the run's folder: the path of a socket is short, and the disk must be local.
_FOLDER = "treepo-ray-"


def check_folder(environment: Mapping[str, str]) -> None:
    """Refuses a ``RAY_TMPDIR`` that is too long.

    Raises:
        ConfigError: It is; one line.
    """
    # What is made there has eight more letters.
    check_ray_folder(environment, "RAY_TMPDIR", below=f"{_FOLDER}xxxxxxxx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a node offers; None lets Ray look.

    Attributes:
        num_cpus: Logical processors.
        num_gpus: Logical accelerators.
        object_store_memory: Bytes.
        include_dashboard: Whether the head runs Ray's dashboard.
    """

    num_cpus: int | None = None
    num_gpus: int | None = None
    object_store_memory: int | None = None
    include_dashboard: bool | None = None

    @staticmethod
    def of(options: Any) -> "Resources":
        """From the options of ``ray.init`` in a configuration, ``ray_kwargs.ray_init``."""
        return Resources(
            num_cpus=options.get("num_cpus"),
            num_gpus=options.get("num_gpus"),
            object_store_memory=options.get("object_store_memory"),
            include_dashboard=options.get("include_dashboard"),
        )


def _free_port() -> int:
    """For the one server of Ray that does not pick a free port itself."""
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


def cluster_environment(token: str) -> dict[str, str]:
    """The environment of everything that belongs to the cluster.

    Args:
        token: A secret that lets no stranger run code on the cluster. Where the user has chosen how Ray authenticates,
            that stands.
    """
    inherited = {name: value for name, value in os.environ.items() if not PROCESS_VARIABLES.fullmatch(name)}
    environment = {"RAY_USAGE_STATS_ENABLED": "0", **inherited}
    environment.pop("RAY_ADDRESS", None)
    # A node that is told to end has nothing left to finish.
    environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"
    if "RAY_AUTH_MODE" not in environment:
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    return environment


class RayNode:
    """A node that starts at once."""

    def __init__(
        self,
        resources: Resources,
        *,
        rank: int,
        join: str | None,
        address: str | None,
        token: str,
        loop: Loop,
        logs: Path,
    ) -> None:
        """Starts it.

        Args:
            resources: What it offers.
            rank: Its rank; 0 heads a new cluster.
            join: The cluster's address, for all but the head.
            address: This host's address in the cluster; None lets Ray choose.
            token: The cluster's secret.
            loop: The loop that waits for it.
            logs: The folder of its log.
        """
        self._folder = Path(tempfile.mkdtemp(prefix=_FOLDER, dir=os.environ.get("RAY_TMPDIR", "/tmp")))
        self._logs, self._rank = logs, rank
        self.child = Child(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *self._options(resources, join, address)],
            loop=loop,
            log=logs / f"ray-rank-{rank}.log",
            environment=cluster_environment(token),
        )

    def _options(self, resources: Resources, join: str | None, address: str | None) -> list[str]:
        options = [
            f"--temp-dir={self._folder}",
            f"--labels={RANK_LABEL}={self._rank}",
            # Free ports, whatever else runs on the machine.
            *("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"),
        ]
        if join is None:
            options += ["--head", "--port=0", f"--ray-client-server-port={_free_port()}", "--no-monitor"]
            if resources.include_dashboard is not None:
                options.append(f"--include-dashboard={resources.include_dashboard}")
        else:
            options.append(f"--address={join}")
        if address is not None:
            options.append(f"--node-ip-address={address}")
        for name in ("num_cpus", "num_gpus", "object_store_memory"):
            if (value := getattr(resources, name)) is not None:
                options.append(f"--{name.replace('_', '-')}={value}")
        return [*options, *shlex.split(os.environ.get("TREEPO_RAY_START_OPTIONS", ""))]

    @property
    def cluster_address(self) -> str | None:
        """``host:port`` of the cluster, once the node has joined it."""
        file = self._folder / _ADDRESS_FILE
        return file.read_text().strip() or None if file.is_file() else None

    def stop(self, *, seconds: float, keep_logs: bool) -> None:
        """Ends the node and removes its folder.

        Args:
            seconds: After so long it is killed.
            keep_logs: Whether Ray's own logs are moved to the run's.
        """
        self.child.end(seconds=seconds)
        if keep_logs:
            for logs in self._folder.glob("session_2*/logs"):
                shutil.copytree(logs, self._logs / "ray" / f"{logs.parent.name}-rank-{self._rank}", symlinks=True)
        shutil.rmtree(self._folder, ignore_errors=True)
