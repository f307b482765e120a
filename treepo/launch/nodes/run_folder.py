"""The one folder of a run: checkpoints, logs, the resolved configuration, the secret of its nodes."""

import os
import secrets
import sys
import time
from contextlib import suppress
from pathlib import Path

from treepo.config import ConfigError
from treepo.files.checkpoint import noted_step
from treepo.processes import LastingFile

_SECRET_LETTERS = 64
# Another node may be writing it just now.
_SECRET_SECONDS = 10.0


class RunFolder:
    """A run's folder, for one launcher; what is there already is kept and appended to."""

    def __init__(self, path: Path, *, rank: int) -> None:
        """Makes the folder.

        Args:
            path: ``run_dir`` of the configuration.
            rank: The launcher's node.

        Raises:
            ConfigError: It cannot be made or written to.
        """
        self.path, self._rank = path, rank
        self.logs = path / "logs"
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            self._log = LastingFile(self.logs / f"rank-{rank}.log")
        except OSError as error:
            raise ConfigError(
                f"run_dir={path} cannot be written to ({error.strerror}); set run_dir to a folder that can"
            ) from error

    def say(self, text: str, *, error: bool = False) -> None:
        """A line for the console and for this node's log."""
        stream = sys.stderr if error else sys.stdout
        stream.write(f"[launch {self._rank}] {text}\n")
        stream.flush()
        self._log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n".encode())

    @property
    def secret_file(self) -> Path:
        """What the nodes of a run know each other by; whoever reads it can run code in its cluster."""
        return self.path / "secret"

    def secret(self) -> str:
        """The run's secret; whichever node comes first makes it.

        Raises:
            ConfigError: It cannot be made or read, or others may read it.
        """
        path = self.secret_file
        try:
            # The first one wins, on NFS as well.
            with suppress(FileExistsError):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w") as file:
                    file.write(secrets.token_hex(_SECRET_LETTERS // 2))
            limit = time.monotonic() + _SECRET_SECONDS
            while len(text := path.read_text().strip()) < _SECRET_LETTERS and time.monotonic() < limit:
                time.sleep(0.2)
            shared = path.stat().st_mode & 0o077
        except OSError as error:
            raise ConfigError(f"{path} cannot be used ({error.strerror}); make it yours, or delete it") from error
        if len(text) < _SECRET_LETTERS:
            raise ConfigError(f"{path} is damaged; delete it, and start all nodes again")
        if shared:
            self.say(f"warning: others may read {path}, and run code in the cluster; chmod 600 {path}", error=True)
        return text

    def checkpoint_step(self, checkpoints: Path | None) -> int | None:
        """The step of the last whole checkpoint, from verl's own note; None without one."""
        return None if checkpoints is None else noted_step(checkpoints)
