"""Whether Ray's sockets fit below the folder for temporary files, which Slurm and others make long."""

import os
from collections.abc import Mapping

from treepo.config import ConfigError

_MOST_BYTES = 107
# The longest of Ray 2.60's; what starts Ray has a process id as long as this process's.
_SOCKET = f"session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"


def check_ray_folder(environment: Mapping[str, str], *names: str, below: str) -> None:
    """Refuses a folder that is too long for a socket's path.

    Args:
        environment: The environment variables.
        names: Those that name the folder, the one that wins first; without any it is ``/tmp``.
        below: The folder in it that is Ray's.

    Raises:
        ConfigError: It is too long; one line that names the variable and the remedy.
    """
    name = next((name for name in names if environment.get(name)), None)
    if name is None:
        return
    longest = f"{environment[name].rstrip('/')}/{below}/{_SOCKET}"
    if (over := len(longest.encode()) - _MOST_BYTES) > 0:
        raise ConfigError(
            f"{name}={environment[name]} is refused: it is {over} bytes too long for the paths of Ray's sockets, which "
            f"have {_MOST_BYTES} at most; set RAY_TMPDIR to a short folder on a local disk, such as /tmp"
        )
