"""The path of a trajectory as numbers."""

import json
import pickle
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treepo.tree import NodePath

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
