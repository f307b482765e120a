"""The packed layout against a plain dictionary of prefixes."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from treepo.packing import Layout, Rows, lay_out, walk_paths, walk_rows, walk_trees
from treepo.tree import NodePath

TOKENS = st.lists(st.integers(0, 2), max_size=6)


@st.composite
def rows_of_some_prompts(draw: st.DrawFn) -> Rows:
    """Few tokens, so that rows share prefixes, repeat each other, end inside each other and have empty responses."""
    prompts = draw(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3), min_size=1, max_size=3))
    chosen = draw(st.lists(st.tuples(st.sampled_from(prompts), TOKENS), min_size=1, max_size=9))
    return Rows.of([prompt for prompt, _ in chosen], [response for _, response in chosen])


def lists_of(rows: Rows) -> list[tuple[int, ...]]:
    return [tuple(part.tolist()) for part in rows.tokens.split(rows.lengths.tolist())]


def prefixes_of(layout: Layout) -> list[tuple[int, ...]]:
    """What each packed token stands for, read along the parents."""
    found: list[tuple[int, ...]] = []
    for token, parent in zip(layout.tokens.tolist(), layout.parents.tolist(), strict=True):
        found.append(((*found[parent], token)) if parent >= 0 else (token,))
    return found


@settings(deadline=None)
@given(rows=rows_of_some_prompts())
def test_every_distinct_prefix_stands_once_and_every_row_reads_back(rows: Rows):
    layout = lay_out(rows)
    prefixes = prefixes_of(layout)
    assert sorted(prefixes) == sorted({row[: n + 1] for row in lists_of(rows) for n in range(len(row))})
    assert layout.positions.tolist() == [len(prefix) - 1 for prefix in prefixes]
    read = [prefixes[place] for place in layout.places.tolist()]
    assert read == [row[: n + 1] for row in lists_of(rows) for n in range(len(row))]


@settings(deadline=None)
@given(rows=rows_of_some_prompts())
def test_a_token_attends_to_its_ancestors_and_itself_and_chains_links_and_paths_say_the_same(rows: Rows):
    layout = lay_out(rows)
    prefixes = prefixes_of(layout)
    ends = layout.ends.tolist()
    pairs = list(product(range(len(layout)), repeat=2))
    wanted = {(q, k) for q, k in pairs if prefixes[q][: len(prefixes[k])] == prefixes[k]}
    assert {(q, k) for q, k in pairs if k <= q < ends[k]} == wanted
    linked = [(q, k) for start, stop in layout.chains for q in range(start, stop) for k in range(start, q + 1)]
    linked += [(q, k) for a, b, c, d in layout.links for q in range(a, b) for k in range(c, d)]
    assert len(linked) == len(set(linked))
    assert set(linked) == wanted
    assert [stop for _, stop in layout.chains] == [*(start for start, _ in layout.chains[1:]), len(layout)]
    paths = [path.tolist() for path in layout.paths.split(list(layout.path_lengths))]
    for (start, stop), path in zip(layout.chains, paths, strict=True):
        assert path[start - stop :] == list(range(start, stop))
        assert [prefixes[token] for token in path] == [prefixes[path[-1]][: n + 1] for n in range(len(path))]


def test_a_walk_that_shares_nothing_lays_every_row_out_by_itself():
    rows = Rows.of([[1, 2]] * 2, [[3, 4], [3, 5, 6]])
    layout = lay_out(rows, walk=replace(walk_rows(rows), shared=(0, 0)))
    assert layout.tokens.tolist() == [1, 2, 3, 4, 1, 2, 3, 5, 6]
    assert layout.positions.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4]
    assert layout.ends.tolist() == [4] * 4 + [9] * 5
    assert layout.paths.tolist() == list(range(9))


def test_three_rows_are_laid_out_as_the_docstring_shows():
    a, b, c, d, e, f = range(1, 7)
    layout = lay_out(Rows.of([[a]] * 3, [[b, c], [b, d, e], [f]]))
    assert layout.tokens.tolist() == [a, b, c, d, e, f]
    assert layout.positions.tolist() == [0, 1, 2, 2, 3, 1]
    assert layout.parents.tolist() == [-1, 0, 1, 1, 3, 0]
    assert layout.ends.tolist() == [6, 5, 3, 5, 5, 6]
    assert layout.places.tolist() == [0, 1, 2, 0, 1, 3, 4, 0, 5]
    assert layout.chains == ((0, 3), (3, 5), (5, 6))
    assert layout.links == ((3, 5, 0, 2), (5, 6, 0, 1))
    assert layout.paths.tolist() == [0, 1, 2, 0, 1, 3, 4, 0, 5]
    assert layout.path_lengths == (3, 4, 2)


def test_a_plain_group_forks_at_the_prompt_and_a_repeated_row_takes_no_room():
    layout = lay_out(Rows.of([[7, 8, 9]] * 4, [[1, 2], [3], [1, 2], []]))
    assert len(layout) == 6
    assert layout.places.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 5, 0, 1, 2, 3, 4, 0, 1, 2]
    assert layout.parents.tolist() == [-1, 0, 1, 2, 3, 2]
    assert layout.ends.tolist() == [6, 6, 6, 5, 5, 6]


def test_rows_of_other_prompts_share_what_they_begin_with_but_are_trees_of_their_own():
    rows = Rows.of([[1, 2], [1, 3], [1, 2]], [[5], [5], [6]])
    assert len(lay_out(rows)) == 6
    assert [tree.order for tree in walk_trees(rows)] == [(0, 2), (1,)]
    assert [tree.size for tree in walk_trees(rows)] == [4, 3]


@settings(deadline=None)
@given(rows=rows_of_some_prompts(), data=st.data())
def test_a_part_of_a_walk_counts_its_distinct_tokens(rows: Rows, data: st.DataObject):
    walk = walk_rows(rows)
    places = sorted(data.draw(st.sets(st.sampled_from(range(len(rows))), min_size=1)))
    part = walk.part(places)
    assert part.size == len(lay_out(rows.select(part.order)))


@settings(deadline=None)
@given(data=st.data())
def test_node_paths_and_tokens_tell_the_same_tree(data: st.DataObject):
    """Also where a cut has split a node, so that path lengths differ; every node begins with a token of its own."""
    paths: list[tuple[int, ...]] = []
    lengths = {0: data.draw(st.integers(1, 4))}
    todo: list[tuple[int, ...]] = [()]
    while todo:
        path = todo.pop()
        for _ in range(data.draw(st.integers(0 if path else 1, 3)) if len(lengths) < 12 else 0):
            lengths[len(lengths)] = data.draw(st.integers(1, 5))
            todo.append((*path, len(lengths) - 1))
        if path and (path not in [done[: len(path)] for done in todo] or data.draw(st.booleans())):
            paths.append(path)
    responses = [[100 * node + step for node in path for step in range(lengths[node])] for path in paths]
    rows = Rows.of([list(range(lengths[0]))] * len(paths), responses)
    by_paths = walk_paths(
        rows=range(len(paths)),
        prompt_length=lengths[0],
        paths=[NodePath(node_ids=path, node_lengths=tuple(lengths[node] for node in path)) for path in paths],
    )
    (by_tokens,) = walk_trees(rows)
    assert by_paths.size == by_tokens.size == len(lay_out(rows))
    places = [by_paths.order.index(row) for row in range(len(paths))]
    assert [by_paths.lengths[place] for place in places] == rows.lengths.tolist()


def test_rows_whose_lengths_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit lengths"):
        Rows(tokens=torch.arange(4), lengths=torch.tensor([3]), prompt_lengths=torch.tensor([1]))
    with pytest.raises(ValueError, match="with prompts"):
        Rows(tokens=torch.arange(3), lengths=torch.tensor([3]), prompt_lengths=torch.tensor([4]))
