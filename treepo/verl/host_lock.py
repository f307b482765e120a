"""One Ray cluster of one's own per machine.

verl names the sockets through which weights reach the servers by Ray's job id and the replica
(``/tmp/rl-colocate-zmq-{job}-replica-{n}-rank-{m}.sock``, verl 0.9.1). Every private cluster counts its jobs from 1, so
two trainings side by side would connect to each other, and both wait for ever. Several nodes of one cluster may share a
machine: verl numbers their replicas over the whole cluster.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from treepo.config import ConfigError

_LOCK = Path(tempfile.gettempdir()) / "treepo-private-cluster.lock"


@contextmanager
def sole_private_cluster(path: Path = _LOCK, *, cluster: str | None = None) -> Iterator[None]:
    """Holds the machine for one Ray cluster of one's own.

    The lock goes with the process, however it ends.

    Args:
        path: The file to lock.
        cluster: The cluster's name, where other nodes of it may be on this machine; None keeps them out.

    Raises:
        ConfigError: Another cluster holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if _lock(descriptor, fcntl.LOCK_EX):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {cluster or ''}".encode(), 0)
            held = cluster is None or _lock(descriptor, fcntl.LOCK_SH)
        else:
            held = cluster is not None and _read(descriptor)[1] == cluster and _lock(descriptor, fcntl.LOCK_SH)
        if not held:
            raise ConfigError(
                f"a Ray cluster of one's own is refused: process {_read(descriptor)[0]} trains on this machine "
                "already, and the two would take each other's weights; wait for it, or join both to one cluster "
                "(ray_kwargs.ray_init.address)"
            )
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(descriptor: int) -> tuple[str, str]:
    """Process and cluster of the first holder."""
    process, _, cluster = os.pread(descriptor, 128, 0).decode().strip().partition(" ")
    return process, cluster
