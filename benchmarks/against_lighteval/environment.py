"""lighteval in an environment of its own, since it pins packages that this project has in other versions."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LIGHTEVAL, TORCH = "0.13.0", "2.13.0"
_WORKER = Path(__file__).parent / "in_lighteval.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A response to be judged.

    Attributes:
        response: What the model wrote.
        truths: The right answers, any of which will do.
    """

    response: str
    truths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What lighteval made of it.

    Attributes:
        right: Its verdict.
        answers: What it extracted from the response.
        truths: What it extracted from the right answers.
    """

    right: bool
    answers: tuple[str, ...]
    truths: tuple[str, ...]


def make_environment(folder: Path) -> Path:
    """Makes the environment where it is missing.

    PyTorch's CPU build is asked for first, some 0.8 GB instead of 5: in the index that TREEPO_TORCH_INDEX names, or in
    pip's own, as scripts/setup.sh does.

    Returns:
        Its Python.

    Raises:
        subprocess.CalledProcessError: pip failed; its words are on the terminal.
    """
    python = folder / "bin" / "python"
    done = folder / f"lighteval-{LIGHTEVAL}"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        index = os.environ.get("TREEPO_TORCH_INDEX")
        if index:
            subprocess.run([*install, f"torch=={TORCH}", "--index-url", index], check=True)
        else:  # without a CPU build, lighteval brings the general one
            subprocess.run([*install, f"torch=={TORCH}+cpu"], check=False, stderr=subprocess.DEVNULL)
        subprocess.run([*install, f"lighteval=={LIGHTEVAL}"], check=True)
        done.touch()
    return python


def judge_all(python: Path, asked: Sequence[Asked], *, worker: Path = _WORKER) -> list[Judged]:
    """Has responses judged, in their order.

    Args:
        python: The environment's Python.
        asked: The responses.
        worker: The script that judges.

    Raises:
        subprocess.CalledProcessError: The script failed.
        ValueError: It judged fewer responses than it was given.
    """
    lines = "".join(json.dumps({"response": one.response, "truths": one.truths}) + "\n" for one in asked)
    done = subprocess.run([str(python), str(worker)], input=lines, stdout=subprocess.PIPE, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    if len(found) != len(asked):
        raise ValueError(f"lighteval judged {len(found)} of {len(asked)} responses")
    return [Judged(right=one["right"], answers=tuple(one["answers"]), truths=tuple(one["truths"])) for one in found]
