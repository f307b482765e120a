"""One JSON file per finished run, and the loop that makes those that are missing."""

import fcntl
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

from treepo.files.whole import write_text_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """What a run is known by.

    Attributes:
        arm: Name of the arm.
        seed: Seed of data order, trees and samples.
        fingerprint: Of the configuration and the model.
    """

    arm: str
    seed: int
    fingerprint: str

    @property
    def name(self) -> str:
        """Names the run's folder and file."""
        return f"{self.arm}-seed{self.seed}-{self.fingerprint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run came to.

    Attributes:
        arm: Name of the arm.
        seed: The run's seed.
        fingerprint: Of the configuration and the model.
        study: Of what all arms share; runs of different studies are not compared.
        finished: When, ISO 8601, UTC.
        overrides: What was set in the preset, without paths and seeds.
        held_out_samples: Samples behind every accuracy.
        accuracy_steps: Steps after which the held-out accuracy was measured; the first is 0.
        accuracy: Held-out accuracies, 0 to 1.
        tokens_generated: Tokens decoded in every training step, those thrown away past a path's end with them.
        tokens_in_trajectories: Tokens of the trajectories trained on in every step, shared ones counted every time.
        fallback_share: Share of the trajectories that a fallback began; None where there are no trees.
        reward: Mean reward of every training step.
        seconds: Seconds of every training step, without the saving of models; in one process, processor seconds.
        seconds_by_part: Mean seconds per step of its parts; on the whole stack from the second step on.
        start_up_seconds: From the start of the process to the end of the first step, less a usual step: workers start
            within the first; none in one process.
        wall_seconds: Of the whole training; in one process with its evaluations, which lie between the steps.
        load_before: Processes that wanted a core in the minute before the start.
        versions: Of the packages that did the work.
    """

    arm: str
    seed: int
    fingerprint: str
    study: str
    finished: str
    overrides: list[str]
    held_out_samples: int
    accuracy_steps: list[int]
    accuracy: list[float]
    tokens_generated: list[int]
    tokens_in_trajectories: list[int]
    fallback_share: float | None
    reward: list[float]
    seconds: list[float]
    seconds_by_part: dict[str, float]
    start_up_seconds: float
    wall_seconds: float
    load_before: float
    versions: dict[str, str]

    @property
    def key(self) -> RunKey:
        """What the run is known by."""
        return RunKey(arm=self.arm, seed=self.seed, fingerprint=self.fingerprint)


class RunFailed(RuntimeError):
    """A run came to no result; the text says why."""


# Makes one run.
Runner = Callable[[RunKey], RunResult]


def result_path(folder: Path, key: RunKey) -> Path:
    """Where the result of a run is kept."""
    return folder / f"{key.name}.json"


def save(folder: Path, result: RunResult) -> None:
    """Writes a result, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text_whole(result_path(folder, result.key), json.dumps(asdict(result), indent=1) + "\n")


Result = TypeVar("Result", bound=RunResult)


def load(path: Path, kind: type[Result] = RunResult) -> Result:
    """Reads a result.

    Args:
        path: The file.
        kind: What it holds.

    Raises:
        ValueError: The file is not a result of this version.
    """
    content = json.loads(path.read_text())
    known = {field.name for field in fields(kind)}
    if not isinstance(content, dict) or set(content) != known:
        raise ValueError(f"{path} is not a result of this version; move it away")
    return kind(**content)


def load_newest(folder: Path, kind: type[Result] = RunResult) -> tuple[list[Result], int]:
    """Reads the results to report on.

    Args:
        folder: Where they are kept.
        kind: What its files hold.

    Returns:
        Those of the study that finished last and, per arm, of the fingerprint that did, by arm and seed; and how many
        others were left out.
    """
    found = sorted((load(path, kind) for path in folder.glob("*.json")), key=lambda result: result.finished)
    same = [result for result in found if result.study == found[-1].study]
    newest = {result.arm: result.fingerprint for result in same}
    kept = [result for result in same if result.fingerprint == newest[result.arm]]
    return sorted(kept, key=lambda result: (result.arm, result.seed)), len(found) - len(kept)


def plan(fingerprints: dict[str, str], seeds: Sequence[int]) -> list[RunKey]:
    """All runs, every arm's run of a seed before the next seed: a slow hour of the machine meets all arms.

    Args:
        fingerprints: By arm, in the order of the runs.
        seeds: The seeds, in order.
    """
    return [
        RunKey(arm=arm, seed=seed, fingerprint=fingerprint)
        for seed in seeds
        for arm, fingerprint in fingerprints.items()
    ]


@contextmanager
def claim(path: Path, *, wait: bool) -> Iterator[bool]:
    """Claims something among the processes of one machine, by a file; a claim ends with its process, however it ends.

    Args:
        path: The file, which stays.
        wait: Until no other process has it; otherwise false comes back where one has.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def claim_path(folder: Path, key: RunKey) -> Path:
    """Where a run is claimed."""
    return folder / ".claims" / key.name


def run_missing(
    keys: Iterable[RunKey], folder: Path, runner: Runner, *, tell: Callable[[str], None], attempts: int = 2
) -> list[RunKey]:
    """Makes the runs that have no result yet, one after the other.

    Processes that share the folder share the runs; each waits at its end for those that the others are making.

    Args:
        keys: All runs that are wanted.
        folder: Where results are kept.
        runner: Makes one.
        tell: Told what happens.
        attempts: How often a run that fails is tried.

    Returns:
        The runs that failed every time; the others went on.
    """
    all_keys = list(keys)
    wanted = {
        key: f"{position}/{len(all_keys)} {key.arm} seed {key.seed}" for position, key in enumerate(all_keys, start=1)
    }
    failed: list[RunKey] = []
    elsewhere: list[RunKey] = []
    for wait, those in ((False, list(wanted)), (True, elsewhere)):
        for key in those:
            place = wanted[key]
            with claim(claim_path(folder, key), wait=wait) as own:
                if result_path(folder, key).is_file():
                    tell(f"{place}: done before")
                elif not own:
                    tell(f"{place}: another process makes it")
                    elsewhere.append(key)
                elif not _make(key, place, folder, runner, tell, attempts):
                    failed.append(key)
    return failed


def _make(key: RunKey, place: str, folder: Path, runner: Runner, tell: Callable[[str], None], attempts: int) -> bool:
    """Makes one run, tried several times; whether there is a result."""
    for attempt in range(1, attempts + 1):
        tell(f"{place}: starts")
        try:
            result = runner(key)
        except RunFailed as error:
            tell(f"{place}: failed, attempt {attempt} of {attempts}: {error}")
            continue
        save(folder, result)
        tell(
            f"{place}: {result.accuracy[0]:.1%} to {result.accuracy[-1]:.1%}, "
            f"{sum(result.seconds):.0f} s of training, {result.wall_seconds:.0f} s in all"
        )
        return True
    return False
