r"""The math reward: the last ``\boxed{...}`` of a response against the ground truth.

For verl: `reward.custom_reward_function.path=pkg://treepo.rewards.math`, `name=compute_score`. verl calls it from
several threads of a Ray actor.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from treepo.rewards.answers import quick_verdict, respell
from treepo.rewards.boxed import last_boxed
from treepo.rewards.judge import Judge

LONGEST_ANSWER = 1024
"""Characters; what is longer is wrong without being looked at."""
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
    ground_truth: str | Sequence[str],
    extra_info: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> MathScore:
    """Scores one response; takes bounded time and memory whatever the response says.

    Args:
        data_source: Name of the dataset, for messages.
        solution_str: The response.
        ground_truth: The right answer, with or without a box around it, or several of which any will do.
        extra_info: Not used; verl passes it.
        **kwargs: Not used; verl passes more where it has a reward model.

    Returns:
        Score, accuracy and extracted answer.

    Raises:
        ValueError: The ground truth is missing, empty or not a text.
        RuntimeError: The process that judges difficult answers does not run.
    """
    golds = _ground_truths(data_source, ground_truth)
    answer = last_boxed(solution_str)
    correct = answer is not None and len(answer) <= LONGEST_ANSWER and _equals_any(golds, answer)
    return MathScore(
        score=1.0 if correct else -1.0, acc=1.0 if correct else 0.0, pred=(answer or "").strip()[:LONGEST_PREDICTION]
    )


def _equals_any(golds: Sequence[str], answer: str) -> bool:
    verdicts = [quick_verdict(gold, answer) for gold in golds]
    if True in verdicts:
        return True
    open_golds = [gold for gold, verdict in zip(golds, verdicts, strict=True) if verdict is None]
    return any(_judge.equal(_expression(gold), _expression(answer)) for gold in open_golds)


def _expression(answer: str) -> str:
    # math-verify 0.9 cannot read a percent sign inside a box, and means 9% to equal 9 anyway.
    return respell(answer).removesuffix(r"\%")


def _ground_truths(data_source: str, ground_truth: object) -> list[str]:
    # Parquet hands a list column out as an array.
    golds = list(ground_truth) if isinstance(ground_truth, list | tuple | np.ndarray) else [ground_truth]
    texts = [gold for gold in golds if isinstance(gold, str) and gold.strip()]
    if len(texts) < len(golds):
        raise ValueError(
            f"data source {data_source!r}: reward_model.ground_truth must be a text or a list of texts, none of them "
            f"empty, got {ground_truth!r:.200}"
        )
    if not texts:
        raise ValueError(f"data source {data_source!r}: reward_model.ground_truth is an empty list")
    return [last_boxed(text) or text for text in texts]
