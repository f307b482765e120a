"""Log-probabilities by position, by segment and at forks; shared tokens count once."""

from pathlib import Path

import pytest
from evaluation_run import graded, plan, sample, tree_sample, write_run

from treepo.evaluation import StoredRun
from treepo.evaluation.count.logprobs import Spread, analyse_log_probs, bin_width

# The root's node 1 forks into 2 and 3; 3 continues alone as 4.
#   1: -1 -1   2: -5 -1   3: -3 -1   4: -2 -2
TREE = (
    tree_sample(0, [(1, 2), (2, 2)], log_probs=(-1.0, -1.0, -5.0, -1.0)),
    tree_sample(1, [(1, 2), (3, 2), (4, 2)], log_probs=(-1.0, -1.0, -3.0, -1.0, -2.0, -2.0)),
)


def tree_run(folder: Path) -> StoredRun:
    return write_run(folder, plan(samplings=("independent", "tree d=2")), TREE)


def means(spreads: tuple[Spread, ...]) -> list[tuple]:
    return [(spread.first, spread.last, spread.tokens, pytest.approx(spread.mean)) for spread in spreads]


def test_by_position_every_decoded_token_counts_once(tmp_path: Path) -> None:
    (tree,) = analyse_log_probs(tree_run(tmp_path))
    assert tree.sampling == "tree d=2"
    assert means(tree.positions) == [
        (0, 0, 1, -1.0),
        (1, 1, 1, -1.0),
        (2, 2, 2, -4.0),
        (3, 3, 2, -1.0),
        (4, 4, 1, -2.0),
        (5, 5, 1, -2.0),
    ]
    assert tree.positions[2].deviation == pytest.approx(1.0)
    assert (tree.everywhere.tokens, tree.everywhere.mean) == (8, pytest.approx(-2.0))


def test_by_segment(tmp_path: Path) -> None:
    (tree,) = analyse_log_probs(tree_run(tmp_path))
    assert means(tree.segments) == [(0, 0, 2, -1.0), (1, 1, 4, -2.5), (2, 2, 2, -2.0)]


def test_forks_are_nodes_with_siblings_and_the_root_is_none(tmp_path: Path) -> None:
    (tree,) = analyse_log_probs(tree_run(tmp_path))
    assert means(tree.forks) == [(0, 0, 2, -4.0), (1, 1, 2, -1.0)]
    assert means(tree.boundaries) == [(0, 0, 1, -2.0), (1, 1, 1, -2.0)]
    assert tree.elsewhere is None


def test_tokens_far_from_their_segments_beginning_are_elsewhere(tmp_path: Path) -> None:
    values = (-1.0,) * 4 + (-2.0,) * 16 + (-7.0,) * 3
    run = write_run(tmp_path, plan(samplings=("tree d=2",)), [tree_sample(0, [(1, 4), (2, 19)], log_probs=values)])
    (tree,) = analyse_log_probs(run)
    assert tree.elsewhere is not None
    assert (tree.elsewhere.tokens, tree.elsewhere.mean) == (3, pytest.approx(-7.0))
    assert [(spread.first, spread.last) for spread in tree.boundaries] == [(0, 0), (1, 1), (2, 3), (4, 7), (8, 15)]


def test_the_same_node_id_in_another_question_is_another_node(tmp_path: Path) -> None:
    other = tree_sample(0, [(1, 2), (2, 2)], "q1", log_probs=(-9.0,) * 4)
    run = write_run(tmp_path, plan(samplings=("tree d=2",)), [*TREE, other])
    (tree,) = analyse_log_probs(run)
    assert tree.everywhere.tokens == 12
    assert means(tree.boundaries)[0][:3] == (0, 0, 2)


def test_samples_without_log_probs_are_passed_over(tmp_path: Path) -> None:
    run = write_run(tmp_path, plan(), [sample(log_probs=(-1.0, -3.0, -1.0, -3.0)), *graded("q1", "+-")])
    (independent,) = analyse_log_probs(run)
    assert (independent.everywhere.tokens, independent.everywhere.mean) == (4, pytest.approx(-2.0))
    assert independent.everywhere.deviation == pytest.approx(1.0)
    assert independent.segments == independent.forks == independent.boundaries == ()
    assert analyse_log_probs(write_run(tmp_path / "none", plan(), graded("q1", "+-"))) == []


def test_long_responses_are_binned_by_powers_of_two() -> None:
    assert [bin_width(length) for length in (1, 64, 65, 128, 16_384)] == [1, 1, 2, 2, 256]
