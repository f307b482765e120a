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
from contextlib import contextmanager, suppress
from pathlib import Path

from treepo.config import ConfigError

# Where verl's sockets are, whatever TMPDIR says.
_LOCK = Path("/tmp/treepo-private-cluster.lock")


@contextmanager
def sole_private_cluster(path: Path = _LOCK, *, cluster: str | None = None) -> Iterator[None]:
    """Holds the machine for one Ray cluster of one's own, against those of all users.

    The lock goes with the process, however it ends; the file stays, for whoever is next.

    Args:
        path: The file to lock; made where it is missing.
        cluster: The cluster's name, where other nodes of it may be on this machine; None keeps them out.

    Raises:
        ConfigError: Another cluster holds it, or the file cannot be used.
    """
    try:
        descriptor = _open(path)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        try:
            _hold(descriptor, cluster)
        except OSError as error:
            raise _unusable(path, error) from error
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return _open_existing(path)
    except FileNotFoundError:
        pass
    # Whoever meets the file finds it complete, with the access that all users have: it gets its name last.
    descriptor, unnamed = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        os.fchmod(descriptor, 0o666)
        os.link(unnamed, path)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, FileExistsError):
            return _open_existing(path)
        raise
    finally:
        os.unlink(unnamed)
    return descriptor


def _open_existing(path: Path) -> int:
    # Never with O_CREAT, which Linux refuses for another user's file in /tmp (fs.protected_regular).
    try:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except PermissionError:
        # Enough for a lock; only its holder's name is not written.
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)


def _hold(descriptor: int, cluster: str | None) -> None:
    if _lock(descriptor, fcntl.LOCK_EX):
        _sign(descriptor, f"{os.getpid()} {cluster or ''}")
        held = cluster is None or _lock(descriptor, fcntl.LOCK_SH)
    else:
        held = cluster is not None and _read(descriptor)[1] == cluster and _lock(descriptor, fcntl.LOCK_SH)
    if not held:
        raise ConfigError(
            f"a Ray cluster of one's own is refused: {_holder(descriptor)} trains on this machine already, and the two "
            "would take each other's weights; wait for it, or join both to one cluster (ray_kwargs.ray_init.address)"
        )


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(descriptor: int, text: str) -> None:
    """Notes the first holder, where that is allowed; the lock stands without it."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def _read(descriptor: int) -> tuple[str, str]:
    """Process and cluster of the last holder that could write."""
    process, _, cluster = os.pread(descriptor, 128, 0).decode(errors="replace").strip().partition(" ")
    return process, cluster


def _holder(descriptor: int) -> str:
    process, _ = _read(descriptor)
    # One that could not write left the name of another before it, which may have ended since.
    return f"process {process}" if _runs(process) else "another process"


def _runs(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (ValueError, OverflowError, ProcessLookupError):
        return False
    return True


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the lock of the machine's Ray clusters, {path}, cannot be used ({error.strerror}); its owner or root must "
        f"make it a file that all users may read and write (chmod 666 {path})"
    )
