"""An environment for trainings in tests: says how many letters the model has written so far."""

from collections.abc import Mapping
from typing import Any

from treepo.environment import Observation, Turn


class LetterCount:
    """Counts the letters of all turns; gives each turn its number as its reward."""

    def __init__(self) -> None:
        self.letters = 0

    def reset(self, row: Mapping[str, Any]) -> None:
        assert row["reward_model"]["ground_truth"]

    def step(self, turn: Turn) -> Observation:
        self.letters += letters(turn.text)
        return Observation(
            messages=({"role": "user", "content": f"{self.letters} letters"},), reward=float(turn.number)
        )

    def check_finished(self, turn: Turn) -> bool:
        return self.letters + letters(turn.text) > 12


def letters(text: str) -> int:
    return sum(character.isalpha() for character in text)
