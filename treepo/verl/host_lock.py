"""One training of one's own Ray cluster per machine.

verl names the sockets through which weights reach the servers by Ray's job id and the replica
(``/tmp/rl-colocate-zmq-{job}-replica-{n}-rank-{m}.sock``, verl 0.9.1). Every private cluster counts its jobs from 1, so
two trainings side by side would connect to each other, and both wait for ever.
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
def sole_private_cluster(path: Path = _LOCK) -> Iterator[None]:
    """Holds the machine for one training with a Ray cluster of its own.

    The lock goes with the process, however it ends.

    Args:
        path: The file to lock.

    Raises:
        ConfigError: Another training holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode().strip()
            raise ConfigError(
                f"ray_kwargs.ray_init.address=local is refused: process {holder} trains on this machine already, and "
                "the two would take each other's weights; wait for it, or join both to one Ray cluster"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
