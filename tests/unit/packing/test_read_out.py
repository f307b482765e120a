"""Log-probs and entropies in rows, from logits of packed tokens."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from treepo.packing import Rows, answer, lay_out, read_out, to_responses, to_rows

VOCABULARY = 11
ROWS = Rows.of([[1, 2]] * 4 + [[5]], [[3, 4, 5], [3, 4], [], [3, 4, 5], [6, 7]])


def reference(rows: Rows, packed_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies of every row token after the first, by a plain gather of the packed logits."""
    places = lay_out(rows).places.split(rows.lengths.tolist())
    log_probs, entropies = [], []
    for place, tokens in zip(places, rows.tokens.split(rows.lengths.tolist()), strict=True):
        scores = torch.log_softmax(packed_logits[place[:-1]] / temperature, -1)
        log_probs += [scores.new_zeros(1), scores.gather(-1, tokens[1:, None])[:, 0]]
        entropies += [scores.new_zeros(1), -(scores.exp() * scores).sum(-1)]
    return torch.cat(log_probs), torch.cat(entropies)


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 1000),
    chunk=st.sampled_from([1, 2, 3, 100]),
    temperature=st.sampled_from([1.0, 0.7]),
    entropy=st.booleans(),
)
def test_values_and_gradients_equal_a_plain_log_softmax(seed: int, chunk: int, temperature: float, entropy: bool):
    generator = torch.Generator().manual_seed(seed)
    layout = lay_out(ROWS)
    logits = torch.randn(len(layout), VOCABULARY, dtype=torch.float64, generator=generator).requires_grad_()
    weights = torch.randn(2, len(ROWS.tokens), dtype=torch.float64, generator=generator)
    wanted = torch.rand(len(ROWS.tokens), generator=generator) < 0.6
    expected = reference(ROWS, logits, temperature)
    loss = (weights[0] * expected[0] * wanted).sum() + (weights[1] * expected[1] * wanted).sum() * entropy
    (expected_gradient,) = torch.autograd.grad(loss, logits)

    plan = read_out(layout, ROWS, wanted=wanted)
    answers = answer(logits[plan.positions], plan, temperature=temperature, entropy=entropy, chunk_tokens=chunk)
    log_probs = to_rows(answers.log_probs, plan, len(ROWS.tokens))
    own = (weights[0] * log_probs).sum()
    torch.testing.assert_close(log_probs, expected[0] * wanted)
    if answers.entropies is not None:
        entropies = to_rows(answers.entropies, plan, len(ROWS.tokens))
        own = own + (weights[1] * entropies).sum()
        first = torch.zeros_like(wanted).index_fill(0, ROWS.lengths.cumsum(0) - ROWS.lengths, True)
        torch.testing.assert_close(entropies, expected[1] * (wanted & ~first))
    assert (answers.entropies is None) == (not entropy)
    (gradient,) = torch.autograd.grad(own, logits)
    torch.testing.assert_close(gradient, expected_gradient)


def test_only_the_logits_that_responses_need_are_read_and_each_once():
    layout = lay_out(ROWS)
    plan = read_out(layout, ROWS)
    parents = {int(layout.parents[place]) for place in layout.places[plan.cells]}
    assert plan.positions.tolist() == sorted(parents)
    assert len(plan.positions) == 5  # of 9 packed tokens: the last prompt tokens and what follows, leaves left out
    assert len(plan.labels) == 5
    assert len(plan.cells) == 10


def test_children_of_a_fork_share_the_logits_of_their_parent():
    rows = Rows.of([[1]] * 3, [[2], [3], [4]])
    plan = read_out(lay_out(rows), rows)
    assert plan.positions.tolist() == [0]
    assert sorted(plan.labels.tolist()) == [2, 3, 4]
    logits = torch.randn(1, VOCABULARY)
    values = to_responses(answer(logits, plan).log_probs, plan, rows, 1)
    torch.testing.assert_close(values[:, 0], torch.log_softmax(logits, -1)[0, [2, 3, 4]])


def test_a_matrix_of_responses_is_filled_up_with_zeros_and_skips_what_is_masked():
    wanted = torch.ones(len(ROWS.tokens), dtype=torch.bool)
    wanted[: int(ROWS.lengths[0])] = False  # a padding row
    plan = read_out(lay_out(ROWS), ROWS, wanted=wanted & read_mask())
    values = to_responses(torch.ones(len(plan.labels)), plan, ROWS, 4)
    assert values.tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0]]
    with pytest.raises(ValueError, match="response_length must be at least 3"):
        to_responses(torch.ones(len(plan.labels)), plan, ROWS, 2)


def read_mask() -> Tensor:
    mask = torch.zeros(len(ROWS.tokens), dtype=torch.bool)
    return mask.index_fill(0, read_out(lay_out(ROWS), ROWS).cells, True)


def test_rows_without_any_wanted_token_give_zeros_and_a_backward_pass():
    plan = read_out(lay_out(ROWS), ROWS, wanted=torch.zeros(len(ROWS.tokens), dtype=torch.bool))
    logits = torch.zeros(0, VOCABULARY, requires_grad=True)
    values = to_rows(answer(logits, plan).log_probs, plan, len(ROWS.tokens))
    values.sum().backward()
    assert values.tolist() == [0.0] * len(ROWS.tokens)


def test_half_precision_logits_are_normalised_in_single_precision():
    plan = read_out(lay_out(ROWS), ROWS)
    logits = torch.randn(len(plan.positions), VOCABULARY).bfloat16().requires_grad_()
    found = answer(logits, plan).log_probs
    scores = torch.log_softmax(logits.detach().float(), -1)
    torch.testing.assert_close(found.detach(), scores[plan.sources, plan.labels])
    found.sum().backward()
    assert logits.grad is not None
    assert logits.grad.dtype == torch.bfloat16


def test_logits_of_other_positions_are_refused():
    plan = read_out(lay_out(ROWS), ROWS)
    with pytest.raises(ValueError, match="expected logits of 5 positions"):
        answer(torch.zeros(4, VOCABULARY), plan)
