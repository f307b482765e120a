"""The tree metrics of a training step, as every logger of verl shows them."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from treepo.config import TreePOConfig
from treepo.tree import FinishReason
from treepo.verl.metric_names import DEPTH_SHARE, FINISH_REASON, Metric
from treepo.verl.packing import METRICS
from treepo.verl.rows import TreeFields


def tree_metrics(
    uids: Sequence[str], fields: Sequence[TreeFields], *, options: TreePOConfig, validation_length: float | None
) -> dict[str, float]:
    """Sums up the trees of a step.

    Args:
        uids: verl's id of the prompt group of every trajectory, padding rows left out.
        fields: What the row of every trajectory carries of its tree.
        options: TreePO's options.
        validation_length: Mean length of the last validation's responses: independent samples, of other problems, drawn
            as ``val_kwargs`` say; None before the first.

    Returns:
        Metrics by the names of :mod:`treepo.verl.metric_names`; docs/metrics.md has the formulas.
    """
    groups: dict[str, list[TreeFields]] = defaultdict(list)
    for uid, entry in zip(uids, fields, strict=True):
        groups[uid].append(entry)
    stats = [entry["tree_stats"] for entry in fields if entry["tree_stats"] is not None]
    assert len(stats) == len(groups), "every tree brings its statistics exactly once"
    total = {name: sum(tree[name] for tree in stats) for name in stats[0]}
    lengths = [sum(entry["node_lengths"]) for entry in fields]
    # A cut splits nodes: depth is counted in segments, not in nodes.
    depths = [-(-length // options.segment_length) for length in lengths]
    fallbacks = [tree["fallbacks"] for tree in stats]
    seconds = [group[0]["tree_seconds"] for group in groups.values()]
    metrics = {
        Metric.TRAJECTORIES_MEAN: len(fields) / len(groups),
        Metric.TRAJECTORIES_MIN: min(len(group) for group in groups.values()),
        Metric.DEPTH_MEAN: float(np.mean(depths)),
        Metric.DEPTH_MAX: max(depths),
        Metric.FINISH_STEP_MEAN: float(np.mean([entry["finish_step"] for entry in fields])),
        Metric.TRAJECTORY_LENGTH_MEAN: float(np.mean(lengths)),
        Metric.FALLBACKS_PER_PROMPT: float(np.mean(fallbacks)),
        Metric.FALLBACK_PROMPT_SHARE: float(np.mean([count > 0 for count in fallbacks])),
        Metric.FALLBACK_TRAJECTORY_SHARE: float(np.mean([entry["from_fallback"] for entry in fields])),
        Metric.TRAJECTORIES_BEFORE_FALLBACK: float(np.mean([tree["finished_before_fallback"] for tree in stats])),
        Metric.TOKENS_IN_TRAJECTORIES: total["tokens_in_trajectories"],
        Metric.TOKENS_GENERATED: total["tokens_generated"],
        Metric.TOKENS_PREFIX: total["prefix_tokens"],
        Metric.TOKENS_CACHED: total["cached_tokens"],
        Metric.TOKENS_RECOMPUTED: total["recomputed_tokens"],
        Metric.TOKENS_DISCARDED: total["discarded_tokens"],
        Metric.TOKENS_SHARING_RATIO: total["tokens_generated"] / max(1, total["tokens_in_trajectories"]),
        Metric.SEGMENTS_PER_PROMPT: total["requests"] / len(groups),
        Metric.SUBMITTED_PER_PROMPT: total["submitted"] / len(groups),
        Metric.FORKS_PER_PROMPT: total["forks"] / len(groups),
        Metric.TREE_SECONDS_MEAN: float(np.mean(seconds)),
        Metric.TREE_SECONDS_MAX: max(seconds),
        Metric.SECONDS_PER_TRAJECTORY: sum(seconds) / len(fields),
    }
    for depth in range(1, options.max_depth + 1):
        metrics[f"{DEPTH_SHARE}{depth}"] = depths.count(depth) / len(depths)
    if validation_length:
        metrics[Metric.LENGTH_OVER_VALIDATION] = metrics[Metric.TRAJECTORY_LENGTH_MEAN] / validation_length
    for reason in FinishReason:
        metrics[f"{FINISH_REASON}{reason.value}"] = float(
            np.mean([entry["reason"] == reason.value for entry in fields])
        )
    return metrics


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
