"""A reward that says what it was told of the turns."""

from typing import Any


def compute_score(data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None) -> dict[str, Any]:
    final = extra_info["final_turn"]
    score = sum(character in "aeiou" for character in final) / max(1, len(final))
    return {
        "score": score,
        "acc": float(score > 0.3),
        "final_turn": final,
        "turns": extra_info["turns"],
        "turn_rewards": str(extra_info["turn_rewards"]),
    }
