"""The trees of an evaluation as the viewer gets them: shared nodes once, with their own text where it was kept."""

from pathlib import Path
from typing import Any

import pytest
from evaluation_run import plan, sample, tree_sample, write_run

from treepo.evaluation import BenchmarkPlan, StoredRun
from treepo.evaluation.show.trees import shown_trees
from treepo.tree import FinishReason
from treepo.viewer import write_page

BOTH = ("independent", "tree d=2")


def stored(folder: Path, *samples: object, **fields: object) -> StoredRun:
    described = plan(**{"benchmarks": {"sums": BenchmarkPlan(questions=2, weight=2)}, "samplings": BOTH, **fields})
    return write_run(folder, described, samples)  # pyright: ignore[reportArgumentType]


def test_a_tree_has_its_shared_nodes_once_with_text_and_log_probs(tmp_path: Path) -> None:
    right = tree_sample(
        0, [(1, 2), (2, 2)], response="one two", node_ends=(3, 7), log_probs=(-0.5, -1.0, -1.5, -2.0), tokens=4
    )
    wrong = tree_sample(
        1,
        [(1, 2), (3, 3)],
        response="one three",
        node_ends=(3, 9),
        correct=False,
        answer=None,
        finish=FinishReason.MAX_TOKENS,
        from_fallback=True,
    )
    # In the order of generation; the page shows them in that of the tree.
    (tree,) = shown_trees(stored(tmp_path, wrong, right))
    assert (tree.group, tree.uid, tree.prompt, tree.ground_truth) == ("sums, tree d=2", "q0", "prompt of q0", "2")
    assert [(one.id, one.parent, one.length, one.text) for one in tree.nodes] == [
        (1, None, 2, "one"),
        (2, 0, 2, " two"),
        (3, 0, 3, " three"),
    ]
    assert [one.log_probs for one in tree.nodes] == [[-0.5, -1.0], [-1.5, -2.0], None]
    assert [(one.leaf, one.reason, one.accuracy, one.from_fallback, one.text) for one in tree.trajectories] == [
        (1, "eos", 1.0, False, None),
        (2, "max_tokens", 0.0, True, None),
    ]
    assert tree.trajectories[1].fields == {"answer": None, "decided by": "exact", "sample": 1, "seed": "1"}


def test_a_run_of_before_shows_whole_responses(tmp_path: Path) -> None:
    (tree,) = shown_trees(stored(tmp_path, tree_sample(0, [(1, 2), (2, 2)], node_ends=None)))
    assert [one.text for one in tree.nodes] == [None, None]
    assert tree.trajectories[0].text == "response 0 to q0"


def test_independent_samples_fork_at_the_prompt_and_several_truths_are_all_shown(tmp_path: Path) -> None:
    truths = {"truths": ("2", "two")}
    (tree,) = shown_trees(stored(tmp_path, sample("q1", 1, **truths), sample("q1", 0, **truths)))
    assert [(one.parent, one.length, one.text) for one in tree.nodes] == [
        (None, 4, "response 0 to q1"),
        (None, 4, "response 1 to q1"),
    ]
    assert tree.ground_truth == ["2", "two"]


def test_trees_of_several_seeds_are_apart_and_samplings_follow_the_plan(tmp_path: Path) -> None:
    samples = [tree_sample(index, [(1, 4)], tree=index) for index in (0, 1)]
    run = stored(tmp_path, *samples, sample("q0", 0), sample("q1", 0), seeds=2)
    assert [(tree.group, tree.uid) for tree in shown_trees(run)] == [
        ("sums, independent", "q0"),
        ("sums, independent", "q1"),
        ("sums, tree d=2, tree 0", "q0"),
        ("sums, tree d=2, tree 1", "q0"),
    ]
    assert write_page(shown_trees(run), tmp_path / "view", title="run").groups == 3


def test_questions_follow_each_other_as_people_count(tmp_path: Path) -> None:
    run = stored(tmp_path, *(sample(question) for question in ("q10", "7", "q9", "q", "10")))
    assert [tree.uid for tree in shown_trees(run)] == ["7", "10", "q", "q9", "q10"]


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"node_ends": (3,)}, r"ends \(3,\) for 2 nodes"),
        ({"node_ends": (7, 3)}, r"ends \(7, 3\) for 2 nodes"),
        ({"node_ends": (3, 9)}, "nodes end at character 9 of 7"),
    ],
)
def test_ends_of_nodes_that_do_not_fit_the_response_are_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        tree_sample(0, [(1, 2), (2, 2)], response="one two", **fields)
