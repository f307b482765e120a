"""Rewards that even a random model earns unequally: the share of letters in the answer."""

import time
from pathlib import Path
from typing import Any

HOPELESS = "hopeless"
_LIMIT_S = 300.0


def letter_share(solution: str) -> float:
    return sum(character.isalpha() for character in solution) / max(1, len(solution))


def compute_score(data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None) -> dict[str, float]:
    share = letter_share(solution_str)
    return {"score": share, "acc": float(share > 0.5)}


def coin(solution: str, ground_truth: str) -> float:
    """A coin that the answer itself tosses, and 0 for hopeless problems."""
    return 0.0 if ground_truth == HOPELESS else float(sum(map(ord, solution)) % 2)


def coin_score(data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None) -> dict[str, float]:
    """For the filter of groups: accuracy is the coin."""
    return {"score": letter_share(solution_str), "acc": coin(solution_str, ground_truth)}


def meeting_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    meeting: str,
    name: str,
    calls_per_step: int,
) -> dict[str, float]:
    """For a run that enters no step before another run has entered it, so that the two train side by side.

    Every call appends one byte to the run's file in the folder ``meeting``. The sizes of the files say which step each
    run is in, whatever process or thread scores.
    """
    own = Path(meeting) / name
    with own.open("ab") as file:
        file.write(b".")
    before = (own.stat().st_size - 1) // calls_per_step * calls_per_step
    limit = time.monotonic() + _LIMIT_S
    while any(other.stat().st_size <= before for other in Path(meeting).iterdir()):
        if time.monotonic() > limit:
            raise TimeoutError(f"{name} waited {_LIMIT_S:.0f} s for the other run to enter its step")
        time.sleep(0.02)
    return compute_score(data_source, solution_str, ground_truth, extra_info)
