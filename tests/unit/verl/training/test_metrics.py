"""Tree metrics: every tree counts once, the token counts add up, and every name is explained in docs/metrics.md."""

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from training_run import ROOT

from treepo.config import load_config
from treepo.environment import BranchCounts
from treepo.tree import FinishReason, NodePath
from treepo.verl.rollout.rows import TreeFields
from treepo.verl.training.metric_names import DEPTH_SHARE, FINISH_REASON, NAMES, OF_TURNS, Metric
from treepo.verl.training.metrics import sort_packing_metrics, tree_metrics
from treepo.verl.training.packing import METRICS

OPTIONS = load_config({"segment_length": 15, "max_depth": 4})
ROOMS = ("treepo/verl", "treepo/quickstart", "benchmarks", "tests")
OF_THE_TRAINER = {
    Metric.PROMPTS_FAILED,
    Metric.PADDING_SHARE,
    Metric.VALIDATION_LENGTH_MEAN,
    Metric.SUBGROUP_SHARE,
    Metric.RANK_IMBALANCE,
}


def row(
    *,
    nodes: dict[int, int],
    first: bool = False,
    fallbacks: int = 1,
    before: int = 2,
    reason: str = "answered",
    fallback: bool = False,
    observed: tuple[int, ...] | None = None,
    turn_stats: dict[str, float] | None = None,
) -> TreeFields:
    stats = {
        "fallbacks": fallbacks,
        "finished_before_fallback": before,
        "steps": 3,
        "segments": 4,
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
        path=NodePath(node_ids=tuple(nodes), node_lengths=tuple(nodes.values())).plain(),
        node_versions=[(1, 1)] * len(nodes),
        observed=list(observed or [0] * len(nodes)),
        reason=reason,
        finish_step=len(nodes),
        from_fallback=fallback,
        tree_stats=stats if first else None,
        turn_stats=turn_stats,
        tree_seconds=1.5,
    )


def measure(
    uids: list[str],
    fields: list[TreeFields],
    *,
    generation_seconds: float = 6.0,
    validation_length: float | None = None,
) -> dict[str, float]:
    return tree_metrics(
        uids,
        fields,
        options=OPTIONS,
        generation_seconds=generation_seconds,
        validation_length=validation_length,
    )


def test_sums_are_over_trees_and_means_over_trajectories() -> None:
    fields = [
        row(nodes={1: 10}, first=True),
        row(nodes={1: 10, 2: 20}, reason="max_depth", fallback=True),
        row(nodes={1: 10, 3: 30}, first=True),
    ]
    metrics = measure(["a", "a", "b"], fields, validation_length=20.0)
    assert metrics["treepo/tokens/generated"] == 120
    assert metrics["treepo/tokens/sharing_ratio"] == pytest.approx(120 / 160)
    assert metrics["treepo/trajectories_per_prompt/mean"] == 1.5
    assert metrics["treepo/trajectories_per_prompt/min"] == 1
    assert metrics["treepo/depth/mean"] == pytest.approx((1 + 2 + 3) / 3)
    assert [metrics[f"treepo/depth/share/{depth}"] for depth in (1, 2, 3, 4)] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert metrics["treepo/length_over_validation"] == pytest.approx(80 / 3 / 20)
    assert metrics["treepo/depth/prompt_mean"] == pytest.approx(((1 + 2) / 2 + 3) / 2)
    assert metrics["treepo/trajectory_length/mean"] == pytest.approx(80 / 3)
    assert metrics["treepo/fallback/trajectory_share"] == pytest.approx(1 / 3)
    assert metrics["treepo/finish_reason/answered"] == pytest.approx(2 / 3)
    assert metrics["treepo/finish_reason/repetition"] == 0


def test_seconds_per_trajectory_are_the_steps_since_trees_grow_side_by_side() -> None:
    fields = [row(nodes={1: 10}, first=True), row(nodes={1: 10, 2: 20}), row(nodes={1: 10}, first=True)]
    metrics = measure(["a", "a", "b"], fields, generation_seconds=6.0)
    assert metrics["treepo/seconds/per_trajectory"] == pytest.approx(6.0 / 3)
    assert metrics["treepo/seconds/tree_latency_mean"] == metrics["treepo/seconds/tree_latency_max"] == 1.5


def test_tokens_against_independent_samples_are_sharing_times_length() -> None:
    fields = [row(nodes={1: 30}, first=True), row(nodes={1: 30, 2: 20})]
    metrics = measure(["a", "a"], fields, validation_length=25.0)
    assert metrics["treepo/tokens/generated_over_validation"] == pytest.approx(60 / 2 / 25)
    assert metrics["treepo/tokens/generated_over_validation"] == pytest.approx(
        metrics["treepo/tokens/sharing_ratio"] * metrics["treepo/length_over_validation"]
    )


TURNS = {
    **dataclasses.asdict(BranchCounts(steps=3, replays=1, failed=2, timed_out=1, seconds=5.0, longest=2.5)),
    "calls": 7,
    "observed_tokens": 9,
}


def test_turns_are_counted_along_paths_and_steps_once_where_they_are_shared() -> None:
    fields = [
        row(nodes={1: 10, 2: 8, 3: 2}, observed=(3, 4, 0), first=True, turn_stats=TURNS),
        row(nodes={1: 10, 4: 5}, observed=(3, 0)),
        row(nodes={1: 10, 2: 8, 5: 1}, observed=(3, 4, 0)),
        # A talk of one turn, of another prompt.
        row(nodes={1: 20}, first=True, turn_stats=dict.fromkeys(TURNS, 0.0)),
    ]
    metrics = measure(["a", "a", "a", "b"], fields)
    assert metrics["treepo/turns/per_trajectory/mean"] == (3 + 2 + 3 + 1) / 4
    assert metrics["treepo/turns/per_trajectory/max"] == 3
    # Five answers along the paths, two in the tree.
    assert metrics["treepo/turns/steps_saved"] == pytest.approx(1 - 2 / 5)
    assert metrics["treepo/turns/steps_per_prompt"] == 1.5
    assert metrics["treepo/turns/calls_per_prompt"] == 3.5
    assert metrics["treepo/turns/observed_share"] == pytest.approx((7 + 3 + 7) / (20 + 15 + 19 + 20))
    assert (metrics["treepo/turns/seconds"], metrics["treepo/turns/seconds_max"]) == (5.0, 2.5)
    # Nodes are never split there: they are the depth, however long they are.
    assert metrics["treepo/depth/max"] == 3


def test_without_turns_nothing_is_said_of_them() -> None:
    assert not OF_TURNS & set(measure(["a"], [row(nodes={1: 10}, first=True)]))


def test_without_a_comparable_validation_nothing_is_compared_with_it() -> None:
    assert not [name for name in measure(["a"], [row(nodes={1: 10}, first=True)]) if name.endswith("over_validation")]


def test_trajectories_before_a_fallback_are_of_the_trees_that_had_one() -> None:
    def before(*fallbacks: tuple[int, int]) -> float | None:
        rows = [row(nodes={1: 10}, first=True, fallbacks=count, before=before) for count, before in fallbacks]
        return measure([str(number) for number in range(len(rows))], rows).get("treepo/fallback/trajectories_before")

    # A tree without one says its whole width there.
    assert before((0, 16), (2, 4), (1, 6)) == 5
    assert before((0, 16)) is None


def test_a_tree_without_its_statistics_is_noticed() -> None:
    with pytest.raises(AssertionError, match="exactly once"):
        measure(["a", "b"], [row(nodes={1: 10}, first=True), row(nodes={1: 10})])


def rows_of_the_page() -> list[str]:
    """The names in the tables of the page, as in ``treepo/depth/share/D``."""
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `(treepo/[^`]+)` \|", page, flags=re.MULTILINE)


def packed_engine_metrics() -> dict[str, float]:
    source = (ROOT / "treepo/verl/training/packed_engine.py").read_text(encoding="utf-8")
    return {f"actor/{METRICS}{name}": 1.0 for name in re.findall(r'f"{METRICS}(\w+)"', source)}


def texts(path: Path) -> Iterator[str]:
    """Every text of a file that looks like the name of a metric, or like its beginning."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and re.fullmatch(r"treepo/[a-z_/]+(/\d+)?", text) and not (ROOT / text).exists():
            yield text


def test_what_is_logged_are_the_known_names_and_no_other() -> None:
    logged = set(measure(["a"], [row(nodes={1: 10}, first=True, turn_stats=TURNS)], validation_length=20.0))
    shares = {f"{DEPTH_SHARE}{depth}" for depth in range(1, OPTIONS.max_depth + 1)}
    reasons = {f"{FINISH_REASON}{reason.value}" for reason in FinishReason}
    packed = packed_engine_metrics()
    sort_packing_metrics(packed)
    assert logged > shares | reasons
    assert logged - shares - reasons | set(packed) == NAMES - OF_THE_TRAINER
    trainer = (ROOT / "treepo/verl/training/trainer.py").read_text(encoding="utf-8")
    assert {getattr(Metric, name) for name in re.findall(r"metrics\[Metric\.(\w+)\]", trainer)} == OF_THE_TRAINER


def test_the_page_explains_every_name_once_and_no_other() -> None:
    reasons = [f"{FINISH_REASON}{reason.value}" for reason in FinishReason]
    assert sorted(rows_of_the_page()) == sorted([*NAMES, f"{DEPTH_SHARE}D", *reasons])


def test_names_stand_in_one_place_and_whoever_reads_a_metric_reads_one_that_there_is() -> None:
    home = ROOT / "treepo/verl/training/metric_names.py"
    found = {path: set(texts(path)) for room in ROOMS for path in (ROOT / room).rglob("*.py") if path != home}
    assert not {path for path, names in found.items() if names and ROOT / "treepo/verl" in path.parents}
    read = {name for names in found.values() for name in names if not name.startswith((DEPTH_SHARE, FINISH_REASON))}
    assert NAMES & read
    # The name of the quickstart's data looks like one, and so does where the wheel carries the presets.
    assert read - NAMES == {"treepo/word_chains", "treepo/configs", "treepo/configs/"}


def test_names_are_plain_texts_as_verls_file_logger_wants_them() -> None:
    assert {type(name) for name in NAMES} == {str}
