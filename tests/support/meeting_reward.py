"""The dense reward of a run that enters no step before another run has entered it, so that the two train side by side.

Every call appends one byte to the run's file in the folder ``meeting``. The sizes of the files say which step each run
is in, whatever process or thread scores.
"""

import time
from pathlib import Path
from typing import Any

import letter_rewards

_LIMIT_S = 300.0


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    meeting: str,
    name: str,
    calls_per_step: int,
) -> dict[str, float]:
    own = Path(meeting) / name
    with own.open("ab") as file:
        file.write(b".")
    before = (own.stat().st_size - 1) // calls_per_step * calls_per_step
    limit = time.monotonic() + _LIMIT_S
    while any(other.stat().st_size <= before for other in Path(meeting).iterdir()):
        if time.monotonic() > limit:
            raise TimeoutError(f"{name} waited {_LIMIT_S:.0f} s for the other run to enter its step")
        time.sleep(0.02)
    return letter_rewards.compute_score(data_source, solution_str, ground_truth, extra_info)
