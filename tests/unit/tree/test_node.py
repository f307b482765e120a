"""Nodes, splits and places in a path."""

import pytest
from scripted_trees import encode, trajectory

from treepo.tree import SegmentRequest
from treepo.tree.node import locate, make_node, path_length, split_node


def test_a_split_keeps_every_token_beside_its_log_prob():
    node = make_node(3, encode("abcd"), [-1.0, -2.0, -3.0, -4.0])
    head, tail = split_node(node, 1, 8, 9)
    assert (head.id, list(head.tokens), list(head.log_probs)) == (8, encode("a"), [-1.0])
    assert (tail.id, list(tail.tokens), list(tail.log_probs)) == (9, encode("bcd"), [-2.0, -3.0, -4.0])
    assert list(node.tokens) == encode("abcd"), "a node never changes"


@pytest.mark.parametrize("at", [0, 4])
def test_a_split_at_a_boundary_is_a_mistake(at: int):
    with pytest.raises(AssertionError):
        split_node(make_node(1, encode("abcd"), [0.0] * 4), at, 2, 3)


def test_places_in_a_path_are_exact_at_boundaries():
    path = trajectory("abcd", "e", "fg").path
    assert [locate(path, position) for position in range(7)] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (2, 1)]
    assert path_length(path) == 7
    with pytest.raises(AssertionError):
        locate(path, 7)


def test_a_request_says_all_tokens_before_it():
    request = SegmentRequest(id=0, path=trajectory("ab", "c").path, max_tokens=4, continues=False, parent=None, seed=0)
    prompt = encode("?!")
    assert request.prefix_tokens(prompt) == encode("?!abc")
    assert prompt == encode("?!"), "the prompt is not changed"


def test_a_trajectory_describes_its_path():
    finished = trajectory("ab", "c")
    assert finished.tokens == encode("abc")
    assert finished.log_probs == [-97.0, -98.0, -99.0]
    assert (finished.length, finished.node_ids, finished.node_lengths) == (3, [1, 2], [2, 1])


def test_nodes_store_eight_bytes_a_token():
    node = make_node(1, range(1000, 2000), [-0.5] * 1000)
    assert (memoryview(node.tokens).nbytes, memoryview(node.log_probs).nbytes) == (4000, 4000)  # pyright: ignore[reportArgumentType]
