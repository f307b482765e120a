"""The metrics of trees of turns."""

from collections.abc import Sequence

from treepo.verl.rollout.rows import TreeFields, path_of, turn_count
from treepo.verl.training.metric_names import Metric


def turn_metrics(groups: Sequence[Sequence[TreeFields]]) -> dict[str, float]:
    """Sums up the turns of a step.

    Args:
        groups: What the rows of every prompt's trajectories carry of their tree.

    Returns:
        Metrics by the names of :mod:`treepo.verl.training.metric_names`; empty where no tree has turns.
    """
    found = [(group, entry["turn_stats"]) for group in groups for entry in group if entry["turn_stats"] is not None]
    if not found:
        return {}
    stats = [counts for _, counts in found]
    rows = [entry for group, _ in found for entry in group]
    turns = [turn_count(entry) for entry in rows]
    answered = [_answered(entry) for entry in rows]
    # Along every path by itself, and in the trees that they share.
    alone = sum(map(len, answered))
    shared = sum(len({node for entry in group for node in _answered(entry)}) for group, _ in found)

    def total(name: str) -> float:
        return sum(counts[name] for counts in stats)

    return {
        Metric.TURNS_MEAN: sum(turns) / len(turns),
        Metric.TURNS_MAX: max(turns),
        Metric.CALLS_PER_PROMPT: total("calls") / len(stats),
        Metric.STEPS_PER_PROMPT: total("steps") / len(stats),
        Metric.STEPS_SAVED: 1 - shared / alone if alone else 0.0,
        Metric.REPLAYS_PER_PROMPT: total("replays") / len(stats),
        Metric.TOKENS_OBSERVED: total("observed_tokens"),
        Metric.OBSERVED_SHARE: sum(sum(entry["observed"]) for entry in rows)
        / sum(path_of(entry).length for entry in rows),
        Metric.ANSWER_SECONDS: total("seconds"),
        Metric.ANSWER_SECONDS_MAX: max(counts["longest"] for counts in stats),
        Metric.TURNS_FAILED: total("failed"),
        Metric.TURNS_TIMED_OUT: total("timed_out"),
        Metric.CLOSE_FAILED: total("close_failed"),
        Metric.OPEN_AT_END: total("open_at_end"),
    }


def _answered(entry: TreeFields) -> list[int]:
    """The nodes of a trajectory behind which something was observed."""
    return [node for node, observed in zip(path_of(entry).node_ids, entry["observed"], strict=True) if observed]
