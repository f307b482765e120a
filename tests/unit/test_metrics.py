"""Tree metrics: every tree counts once, and the token counts add up."""

import pytest

from treepo.config import load_config
from treepo.verl.metrics import tree_metrics
from treepo.verl.rows import TreeFields

OPTIONS = load_config({"segment_length": 15, "max_depth": 4})


def row(*, nodes: dict[int, int], first: bool = False, reason: str = "answered", fallback: bool = False) -> TreeFields:
    stats = {
        "fallbacks": 1,
        "finished_before_fallback": 2,
        "steps": 3,
        "segments": 4,
        "requests": 4,
        "submitted": 3,
        "forks": 1,
        "tokens_generated": 60,
        "tokens_in_trajectories": 80,
        "prefix_tokens": 200,
        "cached_tokens": 150,
        "recomputed_tokens": 20,
        "discarded_tokens": 5,
    }
    return TreeFields(
        node_ids=list(nodes),
        node_lengths=list(nodes.values()),
        node_versions=[(1, 1)] * len(nodes),
        reason=reason,
        finish_step=len(nodes),
        from_fallback=fallback,
        tree_stats=stats if first else None,
        tree_seconds=1.5,
    )


def test_sums_are_over_trees_and_means_over_trajectories() -> None:
    fields = [
        row(nodes={1: 10}, first=True),
        row(nodes={1: 10, 2: 20}, reason="max_depth", fallback=True),
        row(nodes={1: 10, 3: 30}, first=True),
    ]
    metrics = tree_metrics(["a", "a", "b"], fields, options=OPTIONS, independent_length=20.0)
    assert metrics["treepo/tokens/generated"] == 120
    assert metrics["treepo/tokens/sharing_ratio"] == pytest.approx(120 / 160)
    assert metrics["treepo/trajectories_per_prompt/mean"] == 1.5
    assert metrics["treepo/trajectories_per_prompt/min"] == 1
    assert metrics["treepo/depth/mean"] == pytest.approx((1 + 2 + 3) / 3)
    assert [metrics[f"treepo/depth/share/{depth}"] for depth in (1, 2, 3, 4)] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert metrics["treepo/length_inflation"] == pytest.approx(80 / 3 / 20)
    assert metrics["treepo/seconds/per_trajectory"] == pytest.approx(3.0 / 3)
    assert metrics["treepo/trajectory_length/mean"] == pytest.approx(80 / 3)
    assert metrics["treepo/fallback/trajectory_share"] == pytest.approx(1 / 3)
    assert metrics["treepo/finish_reason/answered"] == pytest.approx(2 / 3)
    assert metrics["treepo/finish_reason/repetition"] == 0


def test_a_tree_without_its_statistics_is_noticed() -> None:
    with pytest.raises(AssertionError, match="exactly once"):
        tree_metrics(
            ["a", "b"],
            [row(nodes={1: 10}, first=True), row(nodes={1: 10})],
            options=OPTIONS,
            independent_length=None,
        )
