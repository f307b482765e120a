"""One training at a time in a run's folder: two would write over each other's checkpoints and logs."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from treepo.config import ConfigError

_FILE = ".training"


@contextmanager
def sole_training(run_dir: Path) -> Iterator[None]:
    """Keeps other trainings out of a folder; the file stays, and its lock goes with the process, however that ends.

    Args:
        run_dir: The run's folder; made where it is missing.

    Raises:
        ConfigError: A training is at work there.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / _FILE).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"run_dir={run_dir} is refused: another training writes there at this moment; wait for it, or give "
                "another run_dir"
            ) from None
        except OSError:
            # A file system without locks, as some that nodes share: nobody can know.
            pass
        yield
