"""Nodes, splits and positions in a path, and the path as numbers."""

import json
import pickle
import sys
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_trees import encode, trajectory

from treepo.tree import Node, NodePath, SegmentRequest
from treepo.tree.node import locate, split_node


def test_a_split_keeps_every_token_beside_its_log_prob():
    node = Node(id=3, tokens=encode("abcd"), log_probs=[-1.0, -2.0, -3.0, -4.0])
    head, tail = split_node(node, 1, 8, 9)
    assert (head.id, list(head.tokens), list(head.log_probs)) == (8, encode("a"), [-1.0])
    assert (tail.id, list(tail.tokens), list(tail.log_probs)) == (9, encode("bcd"), [-2.0, -3.0, -4.0])
    assert list(node.tokens) == encode("abcd"), "a node never changes"


@pytest.mark.parametrize("at", [0, 4])
def test_a_split_at_a_boundary_is_a_mistake(at: int):
    with pytest.raises(AssertionError):
        split_node(Node(id=1, tokens=encode("abcd"), log_probs=[0.0] * 4), at, 2, 3)


def test_places_in_a_path_are_exact_at_boundaries():
    path = trajectory("abcd", "e", "fg").nodes
    assert [locate(path, position) for position in range(7)] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (2, 0), (2, 1)]
    with pytest.raises(AssertionError):
        locate(path, 7)


def test_a_request_says_all_tokens_before_it():
    request = SegmentRequest(
        id=0,
        nodes=trajectory("ab", "c").nodes,
        max_tokens=4,
        reach=4,
        continues=False,
        parent_request=None,
        seed=0,
        node_id=1,
    )
    prompt = encode("?!")
    assert request.prefix_tokens(prompt) == encode("?!abc")
    assert prompt == encode("?!"), "the prompt is not changed"


def test_a_trajectory_describes_its_path():
    finished = trajectory("ab", "c")
    assert finished.tokens == encode("abc")
    assert finished.log_probs == [-97.0, -98.0, -99.0]
    assert (finished.length, finished.path) == (3, NodePath(node_ids=(1, 2), node_lengths=(2, 1)))


def test_nodes_store_eight_bytes_a_token():
    node = Node(id=1, tokens=range(1000, 2000), log_probs=[-0.5] * 1000)
    assert node.length == len(node.tokens) == len(node.log_probs) == 1000
    # Beside the numbers: the object itself and the headers of its two stores.
    assert sys.getsizeof(node) + sys.getsizeof(node._tokens) + sys.getsizeof(node._log_probs) < 8000 + 200


@pytest.mark.parametrize(("tokens", "log_probs"), [([], []), ([], [-1.0, -2.0]), ([1], []), ([1], [-1.0, -2.0])])
def test_a_node_has_tokens_and_one_log_prob_for_each(tokens: list[int], log_probs: list[float]):
    with pytest.raises(ValueError, match=f"node 7 has {len(tokens)} tokens and {len(log_probs)} log-probs"):
        Node(id=7, tokens=tokens, log_probs=log_probs)


@given(st.lists(st.sampled_from([0, 1, 2, 256, 258, 2**24, 2**25, 2**31 - 1]), min_size=1, max_size=12))
def test_a_token_is_found_where_it_is_first_and_not_across_tokens(tokens: list[int]):
    node = Node(id=1, tokens=tokens, log_probs=[-1.0] * len(tokens))
    for token in (0, 1, 2, 256, 2**24):
        assert node.position(token) == (tokens.index(token) if token in tokens else None)


def test_a_node_never_changes():
    tokens, log_probs = [1, 2], [-0.5, -1.5]
    node = Node(id=1, tokens=tokens, log_probs=log_probs)
    tokens[0], log_probs[0] = 9, -9.0
    assert (list(node.tokens), list(node.log_probs)) == ([1, 2], [-0.5, -1.5])
    with pytest.raises(FrozenInstanceError):
        node.id = 2  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError):
        node.tokens[0] = 9  # pyright: ignore[reportIndexIssue]


def test_nodes_are_equal_by_content_and_cross_processes():
    node = Node(id=1, tokens=[1, 2], log_probs=[-0.5, -1.5])
    assert pickle.loads(pickle.dumps(node)) == node
    assert Node(id=1, tokens=(1, 2), log_probs=(-0.5, -1.5)) == node
    assert Node(id=2, tokens=[1, 2], log_probs=[-0.5, -1.5]) != node
    assert Node(id=1, tokens=[1, 3], log_probs=[-0.5, -1.5]) != node
    assert Node(id=1, tokens=[1, 2], log_probs=[-0.5, -2.5]) != node


PATHS = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 9)), max_size=8, unique_by=lambda node: node[0]).map(
    lambda nodes: NodePath(node_ids=tuple(node for node, _ in nodes), node_lengths=tuple(length for _, length in nodes))
)


@pytest.mark.parametrize(
    ("ids", "lengths"), [((1, 2), (3,)), ((), (3,)), ((1, 1), (3, 4)), ((0,), (3,)), ((-1,), (3,)), ((1, 2), (3, 0))]
)
def test_nodes_without_id_or_tokens_and_cycles_are_refused(ids: tuple[int, ...], lengths: tuple[int, ...]):
    with pytest.raises(ValueError, match="a path's nodes need an id and tokens each") as refused:
        NodePath(node_ids=ids, node_lengths=lengths)
    assert str(ids) in str(refused.value)


def test_the_root_is_the_path_without_a_node():
    root = NodePath(node_ids=(), node_lengths=())
    assert (root.length, list(root.spans())) == (0, [])


@given(PATHS)
def test_a_path_goes_through_json_and_pickle_unchanged(path: NodePath):
    assert NodePath.of_plain(json.loads(json.dumps(path.plain()))) == path
    assert pickle.loads(pickle.dumps(path)) == path
    assert len({path, NodePath.of_plain(path.plain())}) == 1, "equal paths are one key"


@given(PATHS)
def test_spans_cover_the_response_in_order(path: NodePath):
    response = range(path.length)
    assert [node for node, _ in path.spans()] == list(path.node_ids)
    assert [len(response[place]) for _, place in path.spans()] == list(path.node_lengths)
    assert [token for _, place in path.spans() for token in response[place]] == list(response)


@given(PATHS, st.integers(0, 8), PATHS)
def test_two_paths_share_the_tokens_of_their_common_beginning(path: NodePath, fork: int, other: NodePath):
    own = tuple(node + 100 for node in other.node_ids)
    fork = min(fork, len(path.node_ids))
    branch = NodePath(node_ids=path.node_ids[:fork] + own, node_lengths=path.node_lengths[:fork] + other.node_lengths)
    assert path.shared_tokens(branch) == branch.shared_tokens(path) == sum(path.node_lengths[:fork])
    assert path.shared_tokens(path) == path.length


def test_a_path_never_changes():
    with pytest.raises(FrozenInstanceError):
        NodePath(node_ids=(1,), node_lengths=(2,)).node_ids = (2,)  # pyright: ignore[reportAttributeAccessIssue]
