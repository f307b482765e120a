"""What the machine that a cluster is started on must have: room for Ray and vLLM, a writable cache.

Looked at when a start is about to begin, after all that the configuration says; a dry run is often made elsewhere.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from treepo.config import ConfigError

_MOST_BYTES = 107
# The longest of Ray 2.60's; what starts Ray has a process id as long as this process's.
_SOCKET = f"session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store"

_SHARED = Path("/dev/shm")
# One queue of vLLM's between an engine and its workers.
_LEAST_SHARED_MIB = 256


def check_node(environment: Mapping[str, str]) -> None:
    """Refuses a machine on which vLLM or the reading of data would fail minutes later.

    Args:
        environment: The environment variables.

    Raises:
        ConfigError: One line that names what is missing and the remedy.
    """
    check_shared_memory(_SHARED)
    check_data_cache(environment)


def check_shared_memory(folder: Path) -> None:
    """Refuses shared memory that is too small for vLLM, as containers have it.

    Args:
        folder: Where it is mounted; where there is none, nothing is refused.

    Raises:
        ConfigError: There is too little room.
    """
    free = shutil.disk_usage(folder).free >> 20 if folder.is_dir() else _LEAST_SHARED_MIB
    if free < _LEAST_SHARED_MIB:
        raise ConfigError(
            f"{folder} is refused: it has {free} MiB free, and vLLM's processes need {_LEAST_SHARED_MIB} to talk to "
            "each other; start the container with --ipc=host or a larger --shm-size"
        )


def check_data_cache(environment: Mapping[str, str]) -> None:
    """Refuses a cache of Hugging Face's datasets that cannot be written to: verl reads every file through it.

    Args:
        environment: The environment variables.

    Raises:
        ConfigError: It cannot be written to.
    """
    home = environment.get("HF_HOME") or f"{environment.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    folder = Path(environment.get("HF_DATASETS_CACHE") or f"{home}/datasets").expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(
            f"{folder} is refused: the cache of data cannot be written to ({error.strerror}); set HF_DATASETS_CACHE to "
            "a folder that can"
        ) from error


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
