"""A reward function of the user's in place of the built-in scorer, called as verl calls it."""

import asyncio
import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from treepo.config import ConfigError
from treepo.evaluation.ask.benchmarks import Question

VERDICT = "reward_function"
"""What a sample's verdict says that was decided here."""

_OPTION = "evaluation.reward_function"
_PACKAGE = "pkg://"
_NAME = "compute_score"


class RewardError(ValueError):
    """The function raised, or returned no score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnReward:
    """A reward function and what makes its score a right answer.

    Attributes:
        name: ``evaluation.reward_function``.
        digest: Of the function's file.
        function: ``compute_score(data_source, solution_str, ground_truth, extra_info)``, or a coroutine function.
        threshold: The least score of a right answer.
    """

    name: str
    digest: str
    function: Callable[..., Any]
    threshold: float

    def judge(self, question: Question, response: str) -> tuple[bool, str | None]:
        """Whether a response is right, and its answer where the function gives one; called from several threads.

        Raises:
            RewardError: The function raised, or returned neither a number nor a mapping with `acc` or `score`.
        """
        arguments = {
            "data_source": question.data_source,
            "solution_str": response,
            "ground_truth": question.ground_truth,
            "extra_info": dict(question.extra_info),
        }
        try:
            found = self.function(**arguments)
            if inspect.isawaitable(found):
                found = asyncio.run(_awaited(found))
        except Exception as error:  # a function raises whatever it likes
            raise RewardError(f"{_OPTION}={self.name} raised {type(error).__name__}: {error}") from error
        fields = found if isinstance(found, Mapping) else {"score": found}
        score = fields["acc"] if "acc" in fields else fields.get("score")
        if not isinstance(score, bool | int | float) or not math.isfinite(score):
            raise RewardError(
                f"{_OPTION}={self.name} returned {found!r:.200}; it must return a number, or a dict with acc or score"
            )
        answer = fields.get("pred")
        return score >= self.threshold, answer if isinstance(answer, str) and answer else None


async def _awaited(found: Any) -> Any:
    return await found


def load_reward(option: str, *, threshold: float) -> OwnReward:
    """Imports the function that an option names.

    Args:
        option: ``FILE.py`` or ``pkg://MODULE``, and behind a colon the function's name, `compute_score` without.
        threshold: The least score of a right answer.

    Raises:
        ConfigError: There is no such file, module or function, or importing it fails.
    """
    path, _, name = option.rpartition(":")
    if not path or not name.isidentifier():
        path, name = option, _NAME
    try:
        module, file = _imported(path)
    except Exception as error:  # a module raises whatever it likes
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        remedy = "give FILE.py:NAME or pkg://MODULE:NAME"
        raise ConfigError(f"{_OPTION}={option} cannot be imported ({why}); {remedy}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"{_OPTION}={option} is refused: {file} defines no function {name}")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    return OwnReward(name=option, digest=digest, function=function, threshold=threshold)


def _imported(path: str) -> tuple[ModuleType, Path]:
    """A module and its file."""
    if path.startswith(_PACKAGE):
        module = importlib.import_module(path.removeprefix(_PACKAGE))
        if module.__file__ is None:
            raise ImportError(f"{path} is a folder and no module")
        return module, Path(module.__file__)
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist")
    name = f"evaluation_reward_{hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses of the module look themselves up
    spec.loader.exec_module(module)
    return module, file
