r"""The math reward: the last ``\boxed{...}`` of a response, or of its last turn, against the ground truth.

For verl: `reward.custom_reward_function.path=pkg://treepo.rewards.math`, `name=compute_score`. verl calls it from
several threads of a Ray actor. For the multiple choice sets, the answer is a letter.
"""

from collections.abc import Mapping
from typing import Any, TypedDict

from treepo.rewards.judge import Judge
from treepo.rewards.scoring import LONGEST_ANSWER, GroundTruth, judge_response

__all__ = ["LONGEST_ANSWER", "LONGEST_PREDICTION", "MathScore", "compute_score"]

LONGEST_PREDICTION = 256
"""Characters of the answer that travel on with the metrics."""

_judge = Judge()


class MathScore(TypedDict):
    """`score`: +1 right, -1 wrong; `acc`: 1 right, 0 wrong; `pred`: the beginning of the answer, "" without a box."""

    score: float
    acc: float
    pred: str


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: GroundTruth,
    extra_info: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> MathScore:
    """Scores one response; takes bounded time and memory whatever the response says.

    Args:
        data_source: Name of the dataset: tells multiple choice, and names the data in messages.
        solution_str: The response.
        ground_truth: The right answer, a text with or without a box around it or a number; several, any of which will
            do, as a sequence or as a JSON list of texts.
        extra_info: What verl passes with the row. Where it holds `final_turn`, the model's last turn, that text is
            scored and not the response, which holds what tools printed as well.
        **kwargs: Not used; verl passes more where it has a reward model.

    Returns:
        Score, accuracy and extracted answer.

    Raises:
        ValueError: The ground truth is missing, empty, or neither text nor number; the final turn is not a text.
        RuntimeError: The process that judges difficult answers does not run.
    """
    final_turn = None if extra_info is None else extra_info.get("final_turn")
    if final_turn is not None and not isinstance(final_turn, str):
        raise ValueError(
            f"data source {data_source!r}: extra_info['final_turn'] must be a text, got {final_turn!r:.200}"
        )
    response = solution_str if final_turn is None else final_turn
    verdict = judge_response(response, ground_truth, data_source=data_source, judge=_judge)
    correct = 1.0 if verdict.correct else 0.0
    return MathScore(score=2 * correct - 1, acc=correct, pred=(verdict.answer or "").strip()[:LONGEST_PREDICTION])
