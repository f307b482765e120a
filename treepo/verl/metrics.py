"""The tree metrics of a training step, as every logger of verl shows them."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from treepo.config import TreePOConfig
from treepo.tree import FinishReason
from treepo.verl.packing import METRICS
from treepo.verl.rows import TreeFields


def tree_metrics(
    uids: Sequence[str], fields: Sequence[TreeFields], *, options: TreePOConfig, independent_length: float | None
) -> dict[str, float]:
    """Sums up the trees of a step.

    Args:
        uids: verl's id of the prompt group of every trajectory, padding rows left out.
        fields: What the row of every trajectory carries of its tree.
        options: TreePO's options.
        independent_length: Mean length of the last validation's responses, which are sampled independently; None
            before the first.

    Returns:
        Metrics by name, all under ``treepo/``. ``sharing_ratio`` is tokens generated over tokens in trajectories: the
        share of the trajectories' tokens that had to be decoded.
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
        "treepo/trajectories_per_prompt/mean": len(fields) / len(groups),
        "treepo/trajectories_per_prompt/min": min(len(group) for group in groups.values()),
        "treepo/depth/mean": float(np.mean(depths)),
        "treepo/depth/max": max(depths),
        "treepo/finish_step/mean": float(np.mean([entry["finish_step"] for entry in fields])),
        "treepo/trajectory_length/mean": float(np.mean(lengths)),
        "treepo/fallback/per_prompt": float(np.mean(fallbacks)),
        "treepo/fallback/prompt_share": float(np.mean([count > 0 for count in fallbacks])),
        "treepo/fallback/trajectory_share": float(np.mean([entry["from_fallback"] for entry in fields])),
        "treepo/fallback/trajectories_before": float(np.mean([tree["finished_before_fallback"] for tree in stats])),
        "treepo/tokens/in_trajectories": total["tokens_in_trajectories"],
        "treepo/tokens/generated": total["tokens_generated"],
        "treepo/tokens/prefix": total["prefix_tokens"],
        "treepo/tokens/cached": total["cached_tokens"],
        "treepo/tokens/recomputed": total["recomputed_tokens"],
        "treepo/tokens/discarded": total["discarded_tokens"],
        "treepo/tokens/sharing_ratio": total["tokens_generated"] / max(1, total["tokens_in_trajectories"]),
        "treepo/requests/per_prompt": total["requests"] / len(groups),
        "treepo/requests/submitted_per_prompt": total["submitted"] / len(groups),
        "treepo/requests/forks_per_prompt": total["forks"] / len(groups),
        "treepo/seconds/tree_mean": float(np.mean(seconds)),
        "treepo/seconds/tree_max": max(seconds),
        "treepo/seconds/per_trajectory": sum(seconds) / len(fields),
    }
    for depth in range(1, options.max_depth + 1):
        metrics[f"treepo/depth/share/{depth}"] = depths.count(depth) / len(depths)
    if independent_length:
        metrics["treepo/length_inflation"] = metrics["treepo/trajectory_length/mean"] / independent_length
    for reason in FinishReason:
        metrics[f"treepo/finish_reason/{reason.value}"] = float(
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
        ours = f"treepo/{METRICS}"
        metrics[f"{ours}token_ratio"] = metrics[f"{ours}packed_tokens"] / metrics[f"{ours}row_tokens"]
