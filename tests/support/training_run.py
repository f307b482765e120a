"""Runs the launcher as a user would, in a process of its own, and watches what it leaves behind."""

import json
import os
import queue
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import datasets
import psutil

ROOT = Path(__file__).resolve().parents[2]


def write_sums(path: Path, count: int, *, seed: int) -> Path:
    """A parquet of small sums in the layout that verl reads."""
    draw = random.Random(seed)
    rows = []
    for index in range(count):
        left, right = draw.randint(0, 9), draw.randint(0, 9)
        rows.append(
            {
                "data_source": "tests/sums",
                "prompt": [{"role": "user", "content": f"{left} plus {right}?"}],
                "ability": "math",
                "reward_model": {"style": "rule", "ground_truth": str(left + right)},
                "extra_info": {"split": path.stem, "index": index},
            }
        )
    datasets.Dataset.from_list(rows).to_parquet(path)
    return path


class TrainingRun:
    """One process of the launcher, with its output line by line."""

    command = (sys.executable, "-m", "treepo", "train")
    folder = ROOT

    def __init__(self, arguments: list[str], **environment: str) -> None:
        self.process = subprocess.Popen(
            [*self.command, *arguments],
            cwd=self.folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output: list[str] = []
        self.family: dict[int, psutil.Process] = {}
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, words: str, *, seconds: float) -> str:
        """The first line with these words; fails when the run ends or the time is up before it."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            try:
                line = self._lines.get(timeout=1.0)
            except queue.Empty:
                continue
            if line is None:
                break
            self.output.append(line)
            if words in line:
                return line
        raise AssertionError(f"no line with {words!r}; the last ones:\n{self.tail()}")

    def wait(self, *, seconds: float) -> int:
        """The exit status."""
        limit = time.monotonic() + seconds
        while (line := self._lines.get(timeout=max(0.1, limit - time.monotonic()))) is not None:
            self.output.append(line)
        return self.process.wait(timeout=max(0.1, limit - time.monotonic()))

    def note_family(self) -> None:
        """Remembers every process that the run has started so far."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            self.family[child.pid] = child

    def survivors(self, *, seconds: float) -> list[str]:
        """Those of the remembered processes that still run after a while."""
        _, alive = psutil.wait_procs(list(self.family.values()), timeout=seconds)
        return [f"{process.pid} {process.name()}" for process in alive if process.status() != psutil.STATUS_ZOMBIE]

    def end(self) -> None:
        """Ends what is left of the run, by its ids."""
        if self.process.poll() is None:
            self.note_family()
            self.process.kill()
            self.process.wait()
        for process in self.family.values():
            if process.is_running():
                process.kill()

    def tail(self) -> str:
        return "".join(self.output[-40:])


def logged_steps(run_dir: Path) -> list[int]:
    """Every training step in the logs, in the order of writing, repeats included."""
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    events = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={SCALARS: 0}).Reload()
    points = sorted(events.Scalars("training/global_step"), key=lambda event: event.wall_time)
    return [int(event.value) for event in points]


def read_json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]
