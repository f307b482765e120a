"""A packed sequence on several ranks: equal shares, every pair of attention once, the same numbers as on one."""

import random

import pytest
import torch
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.packing_passes import grow_rows
from treepo.packing import (
    Layout,
    Rows,
    Sharing,
    TokenShare,
    imbalance,
    lay_out,
    read_out,
    score_labels,
    share_labels,
    share_tokens,
    whole_share,
)
from treepo.packing.attention.chains import ChainKernel
from treepo.packing.attention.kernel import attend
from treepo.packing.attention.paths import path_attention, plan_calls
from treepo.packing.token_shares import MIN_BLOCK

THREE_ROWS = Rows.of([[1]] * 3, [[2, 3], [2, 4, 5], [6]])


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    rng = random.Random(draw(st.integers(0, 10_000)))
    return lay_out(
        grow_rows(
            rng,
            prompts=draw(st.integers(1, 2)),
            prompt_length=rng.randint(1, 9),
            width=draw(st.integers(1, 8)),
            response_length=draw(st.integers(1, 30)),
            fork=draw(st.floats(0, 0.5)),
        )
    )


def dense_mask(layout: Layout) -> Tensor:
    at = torch.arange(len(layout))
    return (at[None] <= at[:, None]) & (at[:, None] < layout.ends[None])


def own_places(share: TokenShare) -> Tensor:
    return share.places[: share.own]


@settings(deadline=None, max_examples=examples(30))
@given(layout=layouts(), ranks=st.integers(1, 5), block=st.sampled_from([None, 1, 3, 10]))
def test_every_token_is_on_one_rank_and_every_rank_has_as_many(layout: Layout, ranks: int, block: int | None):
    sharing = share_tokens(layout, ranks=ranks, block=block)
    places = torch.cat([own_places(share) for share in sharing.shares])
    assert sorted(places.tolist()) == list(range(len(layout)))
    size = -(-len(layout) // ranks)
    assert [len(share) for share in sharing.shares] == [size] * ranks
    assert all(size - 1 <= share.own <= size for share in sharing.shares)
    # Put one behind the other, the shares are the packed tokens again.
    assert torch.equal(torch.cat([share.places for share in sharing.shares])[sharing.slots], torch.arange(len(layout)))


@settings(deadline=None, max_examples=examples(30))
@given(layout=layouts(), ranks=st.integers(1, 5), block=st.sampled_from([None, 1, 3, 10]))
def test_the_ranks_together_attend_to_every_ancestor_once(layout: Layout, ranks: int, block: int | None):
    mask = dense_mask(layout)
    found = torch.zeros(mask.shape, dtype=torch.int64)
    for share in share_tokens(layout, ranks=ranks, block=block).shares:
        seen = torch.zeros(len(share), len(layout), dtype=torch.int64)
        covered = []
        for span in share.spans:
            queries, keys = torch.arange(span.first, span.last), torch.arange(span.start, span.stop)
            if span.causal:
                covered += queries.tolist()
                assert share.places[queries].tolist() == keys.tolist()
            allowed = queries[:, None] - span.first >= keys[None] - span.start if span.causal else 1
            seen[span.first : span.last, span.start : span.stop] += allowed
        assert covered == list(range(len(share)))
        found[own_places(share)] += seen[: share.own]
        # A copy of the first token attends to that alone.
        assert seen[share.own :].nonzero().tolist() == [[0, 0]] * (len(share) - share.own)
        assert share.pairs == int(seen[: share.own].sum())
    assert torch.equal(found, mask.to(torch.int64))


@settings(deadline=None, max_examples=examples(30))
@given(layout=layouts(), ranks=st.integers(1, 5), block=st.sampled_from([None, 1, 3, 10]))
def test_a_run_ends_the_path_that_belongs_to_it(layout: Layout, ranks: int, block: int | None):
    for share in share_tokens(layout, ranks=ranks, block=block).shares:
        assert [stop for _, stop in share.runs] == [*(start for start, _ in share.runs[1:]), len(share)]
        paths = share.paths.split(list(share.path_lengths))
        for (start, stop), path in zip(share.runs, paths, strict=True):
            assert path[-(stop - start) :].tolist() == share.places[start:stop].tolist()
            assert layout.parents[path].tolist() == [-1, *path[:-1].tolist()]


@settings(deadline=None, max_examples=examples(50))
@given(layout=layouts(), ranks=st.integers(2, 5), block=st.sampled_from([1, 2, 5, 20]))
def test_no_two_ranks_are_more_than_three_blocks_of_pairs_apart(layout: Layout, ranks: int, block: int):
    sharing = share_tokens(layout, ranks=ranks, block=block)
    pairs = [share.pairs for share in sharing.shares]
    largest = block * (int(layout.positions.max()) + 1)
    assert max(pairs) - min(pairs) <= 3 * largest
    assert imbalance([sharing]) == pytest.approx(max(pairs) / (sum(pairs) / ranks))
    # Whoever is busy in one micro-batch is waited for in each.
    assert imbalance([sharing, sharing]) == pytest.approx(imbalance([sharing]))


@pytest.mark.parametrize("ranks", [2, 4, 8])
@pytest.mark.parametrize(("width", "fork"), [(1, 0.0), (16, 0.002), (64, 0.0)])
def test_a_long_tree_is_balanced_within_two_percent(ranks: int, width: int, fork: float):
    length = max(2000, 32_000 // width)
    layout = lay_out(grow_rows(random.Random(0), prompt_length=2000, width=width, response_length=length, fork=fork))
    assert imbalance([share_tokens(layout, ranks=ranks)]) < 1.02
    # Equal stretches of one long row, which is what cutting the sequence in order gives, are not.
    stretches = [float(stretch.sum()) for stretch in (layout.positions + 1).tensor_split(ranks)]
    assert width > 1 or max(stretches) * ranks / sum(stretches) > 1.4


def test_the_example_of_the_docstring_is_what_comes_out():
    sharing = share_tokens(lay_out(THREE_ROWS), ranks=2)
    first, second = sharing.shares
    assert (first.places.tolist(), first.runs, first.pairs) == ([3, 4, 5], ((0, 2), (2, 3)), 9)
    assert (first.paths.tolist(), first.path_lengths) == ([0, 1, 3, 4, 0, 5], (4, 2))
    assert (second.places.tolist(), second.runs, second.pairs) == ([0, 1, 2], ((0, 3),), 6)
    assert (second.paths.tolist(), second.path_lengths) == ([0, 1, 2], (3,))
    assert sharing.slots.tolist() == [3, 4, 5, 0, 1, 2]


def test_neighbouring_blocks_of_one_chain_on_one_rank_are_one_run():
    layout = lay_out(Rows.of([[0]], [list(range(1, 6))]))
    (share,) = share_tokens(layout, ranks=1, block=2).shares
    assert share.runs == ((0, 6),)
    # Chains that happen to follow each other stay apart: the second does not descend from the first.
    (share,) = share_tokens(lay_out(THREE_ROWS), ranks=1, block=2).shares
    assert share.runs == ((0, 3), (3, 5), (5, 6))


def test_more_ranks_than_tokens_leave_some_with_a_copy_alone():
    sharing = share_tokens(lay_out(Rows.of([[1]], [[2]])), ranks=4)
    assert [share.own for share in sharing.shares] == [1, 1, 0, 0]
    assert [share.places.tolist() for share in sharing.shares] == [[0], [1], [0], [0]]
    assert [share.pairs for share in sharing.shares] == [1, 2, 0, 0]


def test_blocks_are_as_large_as_flash_attention_likes_them_where_the_sequence_is_long():
    sharing = share_tokens(lay_out(Rows.of([[0]], [list(range(1, 8 * MIN_BLOCK))])), ranks=2)
    assert all((stop - start) % MIN_BLOCK == 0 for share in sharing.shares for start, stop in share.runs)


def random_heads(layout: Layout, seed: int) -> list[Tensor]:
    """Query of four heads, key and value of two, tokens first."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(len(layout), heads, 8, generator=generator, dtype=torch.float64).requires_grad_()
        for heads in (4, 2, 2)
    ]


def put_together(sharing: Sharing, parts: list[Tensor]) -> Tensor:
    return torch.cat(parts).index_select(0, sharing.slots)


@settings(deadline=None, max_examples=examples(20))
@given(
    layout=layouts(),
    ranks=st.integers(2, 4),
    block=st.sampled_from([1, 3, 10]),
    window=st.sampled_from([None, "chains", 1, 4]),
)
def test_attention_share_by_share_gives_the_output_and_gradients_of_a_dense_mask(
    layout: Layout, ranks: int, block: int, window: int | str | None
):
    query, key, value = random_heads(layout, ranks)
    sharing = share_tokens(layout, ranks=ranks, block=block)
    limit = window if isinstance(window, int) else None
    parts = []
    for share in sharing.shares:
        own = query[share.places]
        if window == "chains":
            parts.append(attend(own, key, value, kernel=ChainKernel(share=share, scale=0.3)))
        else:
            parts.append(path_attention(own, key, value, share=share, scale=0.3, window=limit))
    found = put_together(sharing, parts)
    ahead = layout.positions[:, None] - layout.positions[None]
    mask = dense_mask(layout) & (ahead < (limit or len(layout)))
    heads_first = [heads.transpose(0, 1)[None] for heads in (query, key, value)]
    expected = scaled_dot_product_attention(*heads_first, attn_mask=mask, scale=0.3, enable_gqa=True)
    expected = expected[0].transpose(0, 1)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for mine, theirs in zip(
        torch.autograd.grad((found * weight).sum(), (query, key, value)),
        torch.autograd.grad((expected * weight).sum(), (query, key, value)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_flash_calls_of_a_share_count_its_own_queries_and_name_keys_of_all():
    layout = lay_out(THREE_ROWS)
    share = share_tokens(layout, ranks=2).shares[0]
    (call,) = plan_calls(share, "cpu")
    assert (call.start, call.stop) == (0, 3)
    assert call.query_offsets.tolist() == [0, 2, 3]
    assert call.key_offsets.tolist() == [0, 4, 6]
    assert call.keys.tolist() == [0, 1, 3, 4, 0, 5]
    whole = whole_share(layout)
    assert (whole.runs, whole.path_lengths) == (layout.chains, layout.path_lengths)


@settings(deadline=None, max_examples=examples(20))
@given(seed=st.integers(0, 10_000), width=st.integers(1, 6), length=st.integers(0, 12), ranks=st.integers(2, 5))
def test_every_label_is_scored_where_its_parent_is_and_all_scores_come_back_in_order(
    seed: int, width: int, length: int, ranks: int
):
    rows = grow_rows(random.Random(seed), prompts=2, prompt_length=4, width=width, response_length=length, fork=0.3)
    layout = lay_out(rows)
    sharing = share_tokens(layout, ranks=ranks, block=2)
    readout = read_out(layout, rows)
    labels = share_labels(readout, sharing)
    generator = torch.Generator().manual_seed(seed)
    hidden, weight = (torch.randn(count, 5, generator=generator) for count in (len(layout), 97))
    expected = score_labels(hidden[readout.positions], weight, readout).log_probs
    filled = torch.full((ranks, labels.size), torch.nan)
    for rank, (share, part) in enumerate(zip(sharing.shares, labels.parts, strict=True)):
        assert part.positions.tolist() == sorted(set(part.positions.tolist()))
        assert not len(part.positions) or int(part.positions.max()) < share.own
        own = hidden[share.places]
        scores = score_labels(own[part.positions], weight, part, chunk_tokens=2).log_probs
        filled[rank, : len(scores)] = scores
    torch.testing.assert_close(filled.flatten()[labels.slots], expected)
    assert max(1, *(len(part.labels) for part in labels.parts)) == labels.size
