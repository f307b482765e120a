"""A reward that even a random model earns unequally: the share of letters in the answer."""

from typing import Any


def compute_score(data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None) -> dict[str, float]:
    letters = sum(character.isalpha() for character in solution_str)
    share = letters / max(1, len(solution_str))
    return {"score": share, "acc": float(share > 0.5)}
