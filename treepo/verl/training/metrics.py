"""The tree metrics of a training step, as every logger of verl shows them."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from treepo.config import TreePOConfig
from treepo.tree import FinishReason
from treepo.verl.rollout.rows import TreeFields, path_of
from treepo.verl.training.metric_names import DEPTH_SHARE, FINISH_REASON, Metric
from treepo.verl.training.packing import METRICS
from treepo.verl.training.turn_metrics import turn_metrics


def tree_metrics(
    uids: Sequence[str],
    fields: Sequence[TreeFields],
    *,
    options: TreePOConfig,
    generation_seconds: float,
    validation_length: float | None,
) -> dict[str, float]:
    """Sums up the trees of a step.

    Args:
        uids: verl's id of the prompt group of every trajectory, padding rows left out.
        fields: What the row of every trajectory carries of its tree.
        options: TreePO's options.
        generation_seconds: How long the step waited for its trees.
        validation_length: Mean length of the last validation's responses: independent samples, of other problems; None
            before the first, and where validation samples otherwise than the training.

    Returns:
        Metrics by the names of :mod:`treepo.verl.training.metric_names`; docs/metrics.md has the formulas.
    """
    groups: dict[str, list[TreeFields]] = defaultdict(list)
    for uid, entry in zip(uids, fields, strict=True):
        groups[uid].append(entry)
    stats = [entry["tree_stats"] for entry in fields if entry["tree_stats"] is not None]
    assert len(stats) == len(groups), "every tree brings its statistics exactly once"
    total = {name: sum(tree[name] for tree in stats) for name in stats[0]}
    lengths = [path_of(entry).length for entry in fields]
    depths_by_prompt = [[_depth(entry, options) for entry in group] for group in groups.values()]
    depths = [depth for of_prompt in depths_by_prompt for depth in of_prompt]
    fallbacks = [tree["fallbacks"] for tree in stats]
    latencies = [group[0]["tree_seconds"] for group in groups.values()]
    metrics = {
        Metric.TRAJECTORIES_MEAN: len(fields) / len(groups),
        Metric.TRAJECTORIES_MIN: min(len(group) for group in groups.values()),
        Metric.DEPTH_MEAN: float(np.mean(depths)),
        Metric.DEPTH_PROMPT_MEAN: float(np.mean([np.mean(of_prompt) for of_prompt in depths_by_prompt])),
        Metric.DEPTH_MAX: max(depths),
        Metric.FINISH_STEP_MEAN: float(np.mean([entry["finish_step"] for entry in fields])),
        Metric.TRAJECTORY_LENGTH_MEAN: float(np.mean(lengths)),
        Metric.FALLBACKS_PER_PROMPT: float(np.mean(fallbacks)),
        Metric.FALLBACK_PROMPT_SHARE: float(np.mean([count > 0 for count in fallbacks])),
        Metric.FALLBACK_TRAJECTORY_SHARE: float(np.mean([entry["from_fallback"] for entry in fields])),
        Metric.TOKENS_IN_TRAJECTORIES: total["tokens_in_trajectories"],
        Metric.TOKENS_GENERATED: total["tokens_generated"],
        Metric.TOKENS_PREFIX: total["prefix_tokens"],
        Metric.TOKENS_CACHED: total["cached_tokens"],
        Metric.TOKENS_RECOMPUTED: total["recomputed_tokens"],
        Metric.TOKENS_DISCARDED: total["discarded_tokens"],
        Metric.TOKENS_SHARING_RATIO: total["tokens_generated"] / max(1, total["tokens_in_trajectories"]),
        Metric.SEGMENTS_PER_PROMPT: total["segments"] / len(groups),
        Metric.SUBMITTED_PER_PROMPT: total["submitted"] / len(groups),
        Metric.FORKS_PER_PROMPT: total["forks"] / len(groups),
        Metric.TREE_LATENCY_MEAN: float(np.mean(latencies)),
        Metric.TREE_LATENCY_MAX: max(latencies),
        Metric.SECONDS_PER_TRAJECTORY: generation_seconds / len(fields),
    }
    for depth in range(1, options.max_depth + 1):
        metrics[f"{DEPTH_SHARE}{depth}"] = depths.count(depth) / len(depths)
    fell_back = [tree["finished_before_fallback"] for tree in stats if tree["fallbacks"]]
    if fell_back:
        metrics[Metric.TRAJECTORIES_BEFORE_FALLBACK] = float(np.mean(fell_back))
    if validation_length:
        metrics[Metric.LENGTH_OVER_VALIDATION] = metrics[Metric.TRAJECTORY_LENGTH_MEAN] / validation_length
        metrics[Metric.GENERATED_OVER_VALIDATION] = total["tokens_generated"] / len(fields) / validation_length
    for reason in FinishReason:
        metrics[f"{FINISH_REASON}{reason.value}"] = float(
            np.mean([entry["reason"] == reason.value for entry in fields])
        )
    turns = turn_metrics(list(groups.values()))
    return metrics | turns


def _depth(entry: TreeFields, options: TreePOConfig) -> int:
    """A trajectory's segments. A cut splits nodes, but in trees of turns, where each is a turn or a piece of one."""
    path = path_of(entry)
    return len(path.node_ids) if any(entry["observed"]) else -(-path.length // options.segment_length)


def sort_packing_metrics(metrics: dict[str, float]) -> None:
    """Moves what the packed engine counted from ``actor/`` to ``treepo/``, and adds the share of tokens computed.

    The counts are means over the ranks and mini-batches of an update. Without that engine nothing changes.

    Args:
        metrics: The step's metrics, changed in place.
    """
    counts = [name for name in metrics if name.startswith(f"actor/{METRICS}")]
    for name in counts:
        metrics[f"treepo/{name.removeprefix('actor/')}"] = metrics.pop(name)
    if counts:
        metrics[Metric.TOKEN_RATIO] = metrics[Metric.PACKED_TOKENS] / metrics[Metric.ROW_TOKENS]
