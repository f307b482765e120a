"""The one folder of a run: checkpoints, logs, the resolved configuration."""

import sys
import time
from pathlib import Path

_MARK = "launch"


class RunFolder:
    """A run's folder, for one launcher; what is there already is kept and appended to."""

    def __init__(self, path: Path, *, rank: int) -> None:
        """Makes the folder.

        Args:
            path: ``run_dir`` of the configuration.
            rank: The launcher's node.
        """
        self.path, self._rank = path, rank
        self.logs = path / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)

    def say(self, text: str, *, error: bool = False) -> None:
        """A line for the console and for this node's log."""
        stream = sys.stderr if error else sys.stdout
        stream.write(f"[launch {self._rank}] {text}\n")
        stream.flush()
        with (self.logs / f"rank-{self._rank}.log").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def mark(self, launch: str) -> None:
        """Leaves the name of a launch, for other nodes to find; it replaces that of an earlier one."""
        (self.logs / _MARK).write_text(launch)

    def has_mark(self, launch: str) -> bool:
        """Whether the launch's mark is here; an unreadable one is not."""
        try:
            return (self.logs / _MARK).read_text() == launch
        except OSError:
            return False

    def checkpoint_step(self, checkpoints: Path | None) -> int | None:
        """The step of the last whole checkpoint, from verl's own note; None without one."""
        if checkpoints is None:
            return None
        note = checkpoints / "latest_checkpointed_iteration.txt"
        text = note.read_text().strip() if note.is_file() else ""
        return int(text) if text.isdecimal() else None
