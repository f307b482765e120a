"""Dumped trees hold everything, come back exactly, and what contradicts itself is refused by name."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from treepo.tree import FinishReason, Node, NodePath, Trajectory, Tree, TreeStats
from treepo.viewer import (
    DumpError,
    Row,
    Scores,
    TreeRecord,
    read_records,
    record_line,
    tree_from_rows,
    tree_record,
)

Grow = Callable[..., Tree]
Describe = Callable[..., TreeRecord]


def again(record: TreeRecord, folder: Path) -> TreeRecord:
    file = folder / "trees.jsonl"
    file.write_text(record_line(record), encoding="utf-8")
    (read,) = read_records(file)
    return read


@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_a_dumped_tree_is_redrawn_to_the_token_and_the_log_prob(
    seed: int, tmp_path: Path, grow: Grow, describe: Describe
) -> None:
    tree = grow(seed)
    read = again(describe(tree), tmp_path)
    redrawn = read.tree()
    assert [leaf.tokens for leaf in redrawn.trajectories] == [leaf.tokens for leaf in tree.trajectories]
    assert [leaf.log_probs for leaf in redrawn.trajectories] == [leaf.log_probs for leaf in tree.trajectories]
    assert [leaf.path.node_ids for leaf in redrawn.trajectories] == [leaf.path.node_ids for leaf in tree.trajectories]
    assert dataclasses.replace(redrawn, prompt_tokens=[7, 8, 9]) == tree
    # The dump of the redrawn tree is the dump.
    assert again(describe(redrawn), tmp_path) == read


def test_a_split_node_is_dumped_as_its_two_parts(grow: Grow, describe: Describe) -> None:
    trees = [grow(seed) for seed in range(20)]
    split = [node for tree in trees for node in describe(tree).nodes if node.start % 4 and node.depth > 1]
    assert split, "cuts of 3 tokens fall inside segments of 4"
    for tree in trees:
        record = describe(tree)
        assert len(record.nodes) == len({node.id for leaf in tree.trajectories for node in leaf.nodes})
        assert sum(len(node.tokens) for node in record.nodes) == tree.stats.tokens_generated


def test_a_record_holds_what_the_trainer_knows(grow: Grow, describe: Describe) -> None:
    tree = grow(1)
    record = describe(
        tree,
        prompt_text="<user>?",
        piece=lambda token: f"[{token}]",
        extra_stats={"seconds": 0.5},
    )
    assert (record.version, record.step) == (4, 3)
    assert record.prompt.model_dump() == {
        "uid": "uid-1",
        "text": "<user>?",
        "tokens": (7, 8, 9),
        "ground_truth": "42",
    }
    first = record.nodes[0]
    assert (first.parent, first.depth, first.start, first.weight_versions) == (None, 1, 0, (4, 5))
    assert first.pieces == tuple(f"[{token}]" for token in first.tokens)
    leaf, dumped = tree.trajectories[2], record.trajectories[2]
    assert dumped.path == leaf.path
    assert (dumped.reason, dumped.finish_step, dumped.from_fallback) == (
        leaf.reason,
        leaf.finish_step,
        leaf.from_fallback,
    )
    assert dumped.reward == pytest.approx(-1 / 3)
    assert dumped.reward_extra == {"acc": True}
    assert dumped.advantages == (0.2,) * len(leaf.nodes)
    assert record.stats == {**dataclasses.asdict(tree.stats), "seconds": 0.5}


def test_the_prompt_is_decoded_where_its_text_is_not_given(grow: Grow, describe: Describe) -> None:
    assert describe(grow()).prompt.text == "ghi"


def test_advantages_are_one_number_per_node_unless_its_tokens_differ(grow: Grow, tmp_path: Path) -> None:
    tree = grow(2)
    scores = [Scores(reward=0.0, advantages=list(range(leaf.length))) for leaf in tree.trajectories]
    scores[0] = Scores(reward=1.0, advantages=torch.full((tree.trajectories[0].length,), 0.5).tolist())
    scores[1] = Scores(reward=1.0)
    record = again(tree_record(tree, step=0, scores=scores, decode=lambda tokens: ""), tmp_path)
    assert record.trajectories[0].advantages == (0.5,) * len(tree.trajectories[0].nodes)
    assert record.trajectories[1].advantages is None
    entries = record.trajectories[2].advantages
    assert entries is not None
    flat = [number for entry in entries for number in (entry if isinstance(entry, tuple) else (entry,))]
    assert flat == list(range(tree.trajectories[2].length))
    assert any(isinstance(entry, tuple) for entry in entries)


def test_values_of_numpy_and_torch_become_plain(grow: Grow, tmp_path: Path) -> None:
    tree = grow(3)
    extra = {
        "acc": np.float32(0.5),
        "passed": np.bool_(True),
        "scores": np.array([1, 2]),
        "loss": torch.tensor(1.5),
        "nested": {"a": (None, "b")},
        "missing": float("nan"),
    }
    scores = [Scores(reward=np.float32(1.0), reward_extra=extra) for _ in tree.trajectories]  # pyright: ignore[reportArgumentType]
    record = tree_record(
        tree, step=0, scores=scores, decode=lambda tokens: "", ground_truth=np.array(["x"], dtype=object)
    )
    read = again(record, tmp_path)
    assert read.prompt.ground_truth == ["x"]
    assert read.trajectories[0].reward_extra == {
        "acc": 0.5,
        "passed": True,
        "scores": [1, 2],
        "loss": 1.5,
        "nested": {"a": [None, "b"]},
        "missing": None,
    }


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"scores": []}, "trajectories and 0 scores"),
        ({"ground_truth": object()}, "ground_truth is a object, which JSON cannot hold"),
        ({"scores": [Scores(reward=float("nan"))] * 6}, "finite"),
        ({"scores": [Scores(reward=0.0, advantages=[1.0])] * 6}, "tokens has 1 advantages"),
        ({"scores": [Scores(reward=0.0, entropies=[1.0])] * 6}, "tokens has 1 entropies"),
    ],
    ids=["scores", "ground_truth", "reward", "advantages", "entropies"],
)
def test_what_cannot_be_dumped_is_refused(
    grow: Grow, describe: Describe, change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        describe(grow(), **change)


def rows_of(tree: Tree) -> list[Row]:
    return [
        Row(
            tokens=leaf.tokens,
            log_probs=leaf.log_probs,
            path=leaf.path,
            node_versions=[node.weight_versions for node in leaf.nodes],
            observed=[node.observed for node in leaf.nodes],
            reason=leaf.reason,
            finish_step=leaf.finish_step,
            from_fallback=leaf.from_fallback,
        )
        for leaf in tree.trajectories
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_rows_of_a_batch_give_the_tree_that_they_came_from(grow: Grow, seed: int) -> None:
    tree = grow(seed)
    stats = {**dataclasses.asdict(tree.stats), "discarded_tokens": 7}
    rebuilt = tree_from_rows(prompt_id=f"uid-{seed}", prompt_tokens=[7, 8, 9], rows=rows_of(tree), stats=stats)
    assert rebuilt == tree


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"path": NodePath(node_ids=(1,), node_lengths=(99,))}, "row 1: tokens, log_probs and path disagree"),
        ({"log_probs": []}, "row 1: tokens, log_probs and path disagree"),
        ({"node_versions": []}, "row 1: [1-9] nodes with weight versions of 0"),
    ],
)
def test_rows_that_do_not_fit_their_nodes_are_refused(grow: Grow, change: dict[str, Any], complaint: str) -> None:
    tree = grow()
    rows = rows_of(tree)
    rows[1] = dataclasses.replace(rows[1], **change)
    with pytest.raises(ValueError, match=complaint):
        tree_from_rows(prompt_id="p", prompt_tokens=[], rows=rows, stats=dataclasses.asdict(tree.stats))


def test_rows_that_differ_in_a_shared_node_are_refused(grow: Grow) -> None:
    tree = grow()
    first, *_ = rows_of(tree)
    other = dataclasses.replace(first, tokens=[token + 1 for token in first.tokens])
    with pytest.raises(ValueError, match=f"row 1: node {first.path.node_ids[0]} has other tokens"):
        tree_from_rows(prompt_id="p", prompt_tokens=[], rows=[first, other], stats=dataclasses.asdict(tree.stats))


def two_nodes() -> dict[str, Any]:
    """The smallest record with a parent, as JSON."""
    stats = {field.name: 1 for field in dataclasses.fields(TreeStats)}
    node = {"text": "ab", "tokens": [1, 2], "log_probs": [-0.5, -1.5], "weight_versions": [4, 5]}
    path = {"node_ids": [1, 2], "node_lengths": [2, 2]}
    leaf = {"path": path, "reason": "eos", "finish_step": 2, "from_fallback": False, "reward": 1.0}
    return {
        "version": 4,
        "step": 0,
        "prompt": {"uid": "u", "text": "?", "tokens": [5]},
        "nodes": [
            {**node, "id": 1, "parent": None, "depth": 1, "start": 0},
            {**node, "id": 2, "parent": 1, "depth": 2, "start": 2},
        ],
        "trajectories": [{**leaf, "advantages": [0.5, [0.5, 1.0]]}],
        "stats": stats,
    }


def test_the_smallest_record_reads(tmp_path: Path) -> None:
    file = tmp_path / "trees.jsonl"
    file.write_text("\n" + json.dumps(two_nodes()) + "\n\n")
    (record,) = read_records(file)
    expected = Trajectory(
        nodes=(
            Node(id=1, tokens=[1, 2], log_probs=[-0.5, -1.5], weight_versions=(4, 5)),
            Node(id=2, tokens=[1, 2], log_probs=[-0.5, -1.5], weight_versions=(4, 5)),
        ),
        reason=FinishReason.EOS,
        finish_step=2,
        from_fallback=False,
    )
    assert record.tree().trajectories == (expected,)


def test_what_was_observed_is_kept_apart_and_has_no_part_in_the_advantage() -> None:
    observed = Node(id=1, tokens=[1, 2, 7, 8], log_probs=[-0.5, -1.5, 0.0, 0.0], observed=2)
    last = Node(id=2, tokens=[3], log_probs=[-1.0])
    talk = Trajectory(nodes=(observed, last), reason=FinishReason.EOS, finish_step=2, from_fallback=False)
    stats = dataclasses.asdict(TreeStats(**{field.name: 1 for field in dataclasses.fields(TreeStats)}))
    row = Row(
        tokens=talk.tokens,
        log_probs=talk.log_probs,
        path=talk.path,
        node_versions=[(0, 0)] * 2,
        observed=[2, 0],
        reason=talk.reason,
        finish_step=2,
        from_fallback=False,
    )
    tree = tree_from_rows(prompt_id="p", prompt_tokens=[5], rows=[row], stats=stats)
    assert tree.trajectories == (talk,)
    # verl's advantages are zero where the mask is.
    scores = [Scores(reward=1.0, advantages=[0.5, 0.5, 0.0, 0.0, 0.25])]
    record = tree_record(tree, step=0, scores=scores, decode=str)
    assert record.trajectories[0].advantages == (0.5, 0.25)
    assert record.tree().trajectories == (talk,)


@pytest.mark.parametrize("version", [2, 3])
def test_a_record_of_a_version_before_reads(tmp_path: Path, version: int) -> None:
    file = tmp_path / "trees.jsonl"
    file.write_text(json.dumps({**two_nodes(), "version": version}) + "\n")
    (record,) = read_records(file)
    assert [(node.observed, node.entropies) for node in record.nodes] == [(0, None), (0, None)]


def test_a_node_has_the_entropies_of_the_first_trajectory_through_it(grow: Grow, tmp_path: Path) -> None:
    tree = grow(1)
    scores = [
        Scores(reward=0.0, entropies=[100.0 * number + position for position in range(leaf.length)])
        for number, leaf in enumerate(tree.trajectories)
    ]
    record = again(tree_record(tree, step=0, scores=scores, decode=lambda tokens: "x"), tmp_path)
    first = {}
    for number, leaf in enumerate(tree.trajectories):
        for node, place in leaf.path.spans():
            first.setdefault(node, tuple(100.0 * number + position for position in range(place.start, place.stop)))
    assert {node.id: node.entropies for node in record.nodes} == first
    assert len(first) < sum(len(leaf.nodes) for leaf in tree.trajectories), "some are shared"


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(record: Any) -> None:
        *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
        for part in parents:
            record = record[part]
        record[last] = value

    return change


def _path(ids: list[int], lengths: list[int]) -> Callable[[dict[str, Any]], None]:
    return _set("trajectories.0.path", {"node_ids": ids, "node_lengths": lengths})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_set("version", 1), "line 2: format version 1, this viewer reads 2 to 4"),
        (lambda record: record.pop("version"), "line 2: format version none, this viewer reads 2 to 4"),
        (_set("nodes.1.tokens", [1, "2"]), "line 2: nodes.1.tokens.1: Input should be a valid integer"),
        (_set("nodes.1.tokens", []), "line 2: nodes.1.tokens: "),
        (_set("extra", 1), "line 2: extra: Extra inputs are not permitted"),
        (lambda record: record.pop("prompt"), "line 2: prompt: Field required"),
        (_set("trajectories.0.reason", "bored"), "line 2: trajectories.0.reason: "),
        (_set("nodes.1.id", 1), "line 2: node 1 occurs twice"),
        (_set("nodes.1.parent", 7), "line 2: node 2: its parent 7 does not stand before it"),
        (_set("nodes.1.start", 3), "line 2: node 2 has depth 2 and start 3, by its parent 2 and 2"),
        (_set("nodes.1.depth", 1), "line 2: node 2 has depth 1 and start 2, by its parent 2 and 2"),
        (_set("nodes.0.log_probs", [-0.5]), "line 2: node 1 has 2 tokens and 1 log_probs"),
        (_set("nodes.0.entropies", [0.5]), "line 2: node 1 has 2 tokens and 1 entropies"),
        (_set("nodes.1.observed", 2), "line 2: node 2 has 2 tokens, none of which the model wrote"),
        (_set("nodes.0.pieces", ["a"]), "line 2: node 1 has 2 tokens and 1 pieces"),
        (_path([1, 3], [2, 2]), "line 2: trajectory 0 names node 3, which is not there"),
        (_path([2], [2]), "line 2: trajectory 0: its nodes are no path from the root"),
        (_path([2, 1], [2, 2]), "line 2: trajectory 0: its nodes are no path from the root"),
        (_path([], []), "line 2: trajectory 0: its nodes are no path from the root"),
        (_path([1, 2], [2, 3]), "line 2: trajectory 0: node 2 has 2 tokens, by its path 3"),
        (_path([1, 2], [2]), "line 2: trajectories.0.path: a path's nodes need an id and tokens each"),
        (_set("trajectories.0.advantages", [0.5]), "line 2: trajectory 0 has 2 nodes and 1 advantages"),
        (_set("trajectories.0.advantages.1", [0.5]), "line 2: trajectory 0, node 2: 2 tokens and 1 advantages"),
        (_set("trajectories", []), "line 2: trajectories: "),
        (_set("nodes.0.weight_versions", [4]), "line 2: nodes.0.weight_versions"),
        (_set("stats.forks", "many"), "line 2: stats.forks"),
    ],
)
def test_a_line_that_is_no_record_is_named_with_its_problem(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], complaint: str
) -> None:
    broken = two_nodes()
    change(broken)
    file = tmp_path / "trees.jsonl"
    file.write_text(json.dumps(two_nodes()) + "\n" + json.dumps(broken) + "\n")
    records = read_records(file)
    next(records)
    with pytest.raises(DumpError) as caught:
        next(records)
    assert str(caught.value).startswith(f"{file}, {complaint}")
    assert "\n" not in str(caught.value)


def test_a_tree_without_one_of_its_statistics_is_not_redrawn() -> None:
    record = two_nodes()
    del record["stats"]["forks"]
    with pytest.raises(ValueError, match="the tree's statistics lack forks"):
        TreeRecord.model_validate(record).tree()


def test_a_node_that_no_trajectory_uses_is_refused(tmp_path: Path) -> None:
    record = two_nodes()
    record["trajectories"][0] |= {"path": {"node_ids": [1], "node_lengths": [2]}, "advantages": None}
    with pytest.raises(ValueError, match="node 2 lies on no trajectory"):
        TreeRecord.model_validate(record)


@pytest.mark.parametrize("line", [b"{", b"[1]", b"\xff\xfe", b"null", b'{"version": 1'])
def test_what_is_no_json_object_is_named(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "trees.jsonl"
    file.write_bytes(line)
    with pytest.raises(DumpError, match=r"trees\.jsonl, line 1: "):
        list(read_records(file))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match=r"gone\.jsonl: No such file"):
        list(read_records(tmp_path / "gone.jsonl"))


def test_separators_inside_texts_do_not_end_a_line(tmp_path: Path, grow: Grow, describe: Describe) -> None:
    record = describe(grow(), prompt_text="a\u2028b\u0085c\rd\ne\x0bf\x00g")
    assert again(record, tmp_path) == record
