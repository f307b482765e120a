"""A reward for the filter of groups: accuracy is a coin that the answer itself tosses, and 0 for hopeless problems."""

from typing import Any

HOPELESS = "hopeless"


def letter_share(solution: str) -> float:
    return sum(character.isalpha() for character in solution) / max(1, len(solution))


def accuracy(solution: str, ground_truth: str) -> float:
    return 0.0 if ground_truth == HOPELESS else float(sum(map(ord, solution)) % 2)


def compute_score(data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None) -> dict[str, float]:
    return {"score": letter_share(solution_str), "acc": accuracy(solution_str, ground_truth)}
