"""How the paths of a step are shared out among the active ones."""

import math
import random
from collections.abc import Sequence

from treepo.config import LogProbAllocationConfig
from treepo.config.policies import LogProbScore, Preference, TemperatureSchedule
from treepo.tree.node import Node, Nodes


def allocate_evenly(total: int, active: int, rng: random.Random) -> list[int]:
    """Children of each active path: as equal as possible, what is left over one each to distinct random paths."""
    share, rest = divmod(total, active)
    children = [share] * active
    for lucky in rng.sample(range(active), rest):
        children[lucky] += 1
    return children


def allocate_by_score(
    total: int, scores: Sequence[float], *, prefer: Preference, temperature: float, most: int | None
) -> list[int]:
    """Children of each active path by its log-probability.

    Every path gets one; the others are shared out by a softmax over the scores, rounded by largest remainder (ties go
    to the path that comes first).

    Args:
        total: Children of all paths, at least one each.
        scores: One number per active path.
        prefer: Whether low or high scores get more.
        temperature: Divides the scores.
        most: Most children of one path, or None; `total` is at most that many for each.

    Returns:
        Children of each path, with sum `total`.
    """
    sign = -1.0 if prefer is Preference.LOW else 1.0
    logits = [sign * score / temperature for score in scores]
    children = [1] * len(scores)
    rest = total - len(scores)
    open_paths = list(range(len(scores)))
    while most is not None:
        # A path whose share exceeds its room is filled, and what it cannot take goes to the others.
        quotas = _quotas(rest, [logits[path] for path in open_paths])
        full = [path for path, quota in zip(open_paths, quotas, strict=True) if quota >= most - 1]
        if not full:
            break
        for path in full:
            children[path] = most
        rest -= len(full) * (most - 1)
        open_paths = [path for path in open_paths if path not in full]
    for path, extra in zip(open_paths, _round(rest, [logits[path] for path in open_paths]), strict=True):
        children[path] += extra
    return children


def temperature(options: LogProbAllocationConfig, training_progress: float | None) -> float:
    """The temperature at a point of the training.

    Args:
        options: The schedule: constant, or half a period of a sine that rises from `min_temperature` to
            `max_temperature` (`ascending`) or falls back (`descending`), flat at both ends.
        training_progress: Share of the training that is over, 0 to 1; not read by `constant`.
    """
    if options.schedule is TemperatureSchedule.CONSTANT:
        return options.temperature
    assert options.min_temperature is not None, "the configuration needs it with a schedule"
    assert options.max_temperature is not None, "the configuration needs it with a schedule"
    assert training_progress is not None, "the sampler needs it with a schedule"
    rise = (1 + math.sin(math.pi * (training_progress - 0.5))) / 2
    if options.schedule is TemperatureSchedule.DESCENDING:
        rise = 1 - rise
    return options.min_temperature + (options.max_temperature - options.min_temperature) * rise


class PathScores:
    """Scores paths by their log-probabilities, adding up every node once."""

    def __init__(self) -> None:
        self._sums: dict[int, float] = {}

    def score(self, nodes: Nodes, kind: LogProbScore) -> float:
        """Sum or mean over the tokens written in a path that is not empty, or the mean over its last node."""
        if kind is LogProbScore.LAST_SEGMENT:
            return self._sum(nodes[-1]) / nodes[-1].written
        total = sum(self._sum(node) for node in nodes)
        return total if kind is LogProbScore.SUM else total / sum(node.written for node in nodes)

    def _sum(self, node: Node) -> float:
        if node.id not in self._sums:
            self._sums[node.id] = sum(node.log_probs)
        return self._sums[node.id]


def softmax(logits: Sequence[float]) -> list[float]:
    """Probabilities; the largest logit never underflows."""
    highest = max(logits)
    weights = [math.exp(logit - highest) for logit in logits]
    total = sum(weights)
    return [weight / total for weight in weights]


def _quotas(rest: int, logits: Sequence[float]) -> list[float]:
    return [rest * share for share in softmax(logits)] if logits else []


def _round(rest: int, logits: Sequence[float]) -> list[int]:
    """Whole numbers with sum `rest`, as near the quotas as can be: floors, then the largest remainders."""
    quotas = _quotas(rest, logits)
    shares = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda path: shares[path] - quotas[path])
    for path in by_remainder[: rest - sum(shares)]:
        shares[path] += 1
    return shares
