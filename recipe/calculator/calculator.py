"""The environment: a calculator that answers a turn which ends with a sum."""

import re

from treepo.environment import Observation, Turn
from treepo.rewards.boxed import last_boxed

_SUM = re.compile(r"(-?\d+) ([+-]) (\d+)")


def calculate(expression: str) -> str:
    """The result of ``a + b`` or ``a - b``, or that it is no sum."""
    found = _SUM.fullmatch(expression.strip())
    if found is None:
        return "no sum"
    left, right = int(found[1]), int(found[3])
    return str(left + right if found[2] == "+" else left - right)


class Calculator:
    """Answers ``... 31 + 5 =`` with ``36``, and ends the talk at a box. It remembers nothing."""

    def step(self, turn: Turn) -> Observation:
        """Answers with the result of the sum at the turn's end."""
        before, equals, after = turn.text.rpartition("=")
        asked = re.search(rf"{_SUM.pattern}\s*$", before) if equals and not after.strip() else None
        text = "no sum" if asked is None else calculate(asked[0])
        return Observation(messages=({"role": "user", "content": text},))

    def check_finished(self, turn: Turn) -> bool:
        """Whether the turn holds an answer."""
        return last_boxed(turn.text) is not None

    def fork(self) -> "Calculator":
        """Another calculator."""
        return Calculator()
