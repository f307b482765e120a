"""Log-probs and entropies in rows, from hidden states of packed tokens."""

import pytest
import torch
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import treepo.packing.scores as scores_module
from treepo.packing import Layout, Rows, lay_out, read_out, score_labels, scores_for_logits, to_responses, to_rows

VOCABULARY = 11
HIDDEN = 5
ROWS = Rows.of([[1, 2]] * 4 + [[5]], [[3, 4, 5], [3, 4], [], [3, 4, 5], [6, 7]])


def random_states(layout: Layout, seed: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Hidden states of all packed tokens and the weight of an output head."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((len(layout), HIDDEN), (VOCABULARY, HIDDEN))
    hidden, weight = (torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes)
    return hidden.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_()


def reference(rows: Rows, packed_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies of every row token after the first, by a plain gather of the packed logits."""
    places = lay_out(rows).places.split(rows.lengths.tolist())
    log_probs, entropies = [], []
    for place, tokens in zip(places, rows.tokens.split(rows.lengths.tolist()), strict=True):
        scores = torch.log_softmax(packed_logits[place[:-1]] / temperature, -1)
        log_probs += [scores.new_zeros(1), scores.gather(-1, tokens[1:, None])[:, 0]]
        entropies += [scores.new_zeros(1), -(scores.exp() * scores).sum(-1)]
    return torch.cat(log_probs), torch.cat(entropies)


@settings(deadline=None, max_examples=examples(25))
@given(
    seed=st.integers(0, 1000),
    chunk=st.sampled_from([1, 2, 3, 100]),
    temperature=st.sampled_from([1.0, 0.7]),
    entropy=st.booleans(),
)
def test_values_and_gradients_equal_a_plain_log_softmax(seed: int, chunk: int, temperature: float, entropy: bool):
    generator = torch.Generator().manual_seed(seed)
    layout = lay_out(ROWS)
    hidden, weight = random_states(layout, seed)
    weights = torch.randn(2, len(ROWS.tokens), dtype=torch.float64, generator=generator)
    wanted = torch.rand(len(ROWS.tokens), generator=generator) < 0.6
    expected = reference(ROWS, hidden @ weight.T, temperature)
    loss = (weights[0] * expected[0] * wanted).sum() + (weights[1] * expected[1] * wanted).sum() * entropy
    expected_gradients = torch.autograd.grad(loss, (hidden, weight))

    readout = read_out(layout, ROWS, wanted=wanted)
    scores = score_labels(
        hidden[readout.positions], weight, readout, temperature=temperature, entropy=entropy, chunk_tokens=chunk
    )
    log_probs = to_rows(scores.log_probs, readout, len(ROWS.tokens))
    own = (weights[0] * log_probs).sum()
    torch.testing.assert_close(log_probs, expected[0] * wanted)
    if scores.entropies is not None:
        entropies = to_rows(scores.entropies, readout, len(ROWS.tokens))
        own = own + (weights[1] * entropies).sum()
        first = torch.zeros_like(wanted).index_fill(0, ROWS.lengths.cumsum(0) - ROWS.lengths, True)
        torch.testing.assert_close(entropies, expected[1] * (wanted & ~first))
    assert (scores.entropies is None) == (not entropy)
    torch.testing.assert_close(torch.autograd.grad(own, (hidden, weight)), expected_gradients)


def test_a_frozen_head_gets_no_gradient_and_hidden_states_get_theirs():
    layout = lay_out(ROWS)
    hidden, weight = random_states(layout, 0)
    readout = read_out(layout, ROWS)
    found = []
    for frozen in (False, True):
        head = weight.detach().requires_grad_(not frozen)
        score_labels(hidden[readout.positions], head, readout).log_probs.sum().backward()
        found.append((hidden.grad, head.grad))
        hidden.grad = None
    torch.testing.assert_close(found[1][0], found[0][0])
    assert found[0][1] is not None
    assert found[1][1] is None


@pytest.mark.parametrize("training", [False, True])
def test_no_more_logits_than_a_chunk_are_held_at_a_time(training: bool, monkeypatch: pytest.MonkeyPatch):
    rows = Rows.of([[1]] * 4, [[n, 2, 3, 4, 5, 6, 7, 8, 9] for n in range(2, 6)])
    layout = lay_out(rows)
    readout = read_out(layout, rows)
    hidden, weight = random_states(layout, 0)
    sizes: list[int] = []
    logits = scores_module._logits
    monkeypatch.setattr(scores_module, "_logits", lambda h, w: (sizes.append(len(h)), logits(h, w))[1])
    with torch.set_grad_enabled(training):
        scores = score_labels(hidden[readout.positions], weight, readout, chunk_tokens=7)
    if training:
        scores.log_probs.sum().backward()
    passes = [7, 7, 7, 7, 5]
    assert len(readout.positions) == 33
    assert sizes == passes * (2 if training else 1)


def test_within_the_context_a_models_head_gives_scores_and_behind_it_logits_again():
    layout = lay_out(ROWS)
    hidden, weight = random_states(layout, 0, torch.float32)
    readout = read_out(layout, ROWS)
    head = torch.nn.Linear(HIDDEN, VOCABULARY, bias=False)
    head.weight = torch.nn.Parameter(weight.detach())
    expected = score_labels(hidden[readout.positions], weight, readout, temperature=0.5, entropy=True)
    with scores_for_logits(head, readout, temperature=0.5, entropy=True):
        log_probs, entropies = head(hidden[None, readout.positions])
    torch.testing.assert_close(log_probs, expected.log_probs)
    torch.testing.assert_close(entropies, expected.entropies)
    with scores_for_logits(head, readout, temperature=0.5):
        torch.testing.assert_close(head(hidden[None, readout.positions]), expected.log_probs)
    assert head(hidden[None]).shape == (1, len(layout), VOCABULARY)


def test_a_head_that_is_no_plain_linear_layer_is_refused():
    readout = read_out(lay_out(ROWS), ROWS)
    for head, reason in ((torch.nn.Linear(2, 2), "with a bias"), (torch.nn.Sequential(), "type Sequential")):
        with pytest.raises(ValueError, match=reason), scores_for_logits(head, readout):
            pass


def test_only_the_logits_that_responses_need_are_read_and_each_once():
    layout = lay_out(ROWS)
    readout = read_out(layout, ROWS)
    parents = {int(layout.parents[place]) for place in layout.places[readout.cells]}
    assert readout.positions.tolist() == sorted(parents)
    assert len(readout.positions) == 5  # of 9 packed tokens: the last prompt tokens and what follows, leaves left out
    assert len(readout.labels) == 5
    assert len(readout.cells) == 10


def test_children_of_a_fork_share_the_logits_of_their_parent():
    rows = Rows.of([[1]] * 3, [[2], [3], [4]])
    readout = read_out(lay_out(rows), rows)
    assert readout.positions.tolist() == [0]
    assert sorted(readout.labels.tolist()) == [2, 3, 4]
    hidden, weight = torch.randn(1, HIDDEN), torch.randn(VOCABULARY, HIDDEN)
    values = to_responses(score_labels(hidden, weight, readout).log_probs, readout, rows, 1)
    torch.testing.assert_close(values[:, 0], torch.log_softmax(hidden @ weight.T, -1)[0, [2, 3, 4]])


def test_a_matrix_of_responses_is_filled_up_with_zeros_and_skips_what_is_masked():
    wanted = torch.ones(len(ROWS.tokens), dtype=torch.bool)
    wanted[: int(ROWS.lengths[0])] = False  # a padding row
    readout = read_out(lay_out(ROWS), ROWS, wanted=wanted & read_mask())
    values = to_responses(torch.ones(len(readout.labels)), readout, ROWS, 4)
    assert values.tolist() == [[0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0]]
    with pytest.raises(ValueError, match="response_length must be at least 3"):
        to_responses(torch.ones(len(readout.labels)), readout, ROWS, 2)


def read_mask() -> Tensor:
    mask = torch.zeros(len(ROWS.tokens), dtype=torch.bool)
    return mask.index_fill(0, read_out(lay_out(ROWS), ROWS).cells, True)


def test_rows_without_any_wanted_token_give_zeros_and_a_backward_pass():
    readout = read_out(lay_out(ROWS), ROWS, wanted=torch.zeros(len(ROWS.tokens), dtype=torch.bool))
    hidden = torch.zeros(0, HIDDEN, requires_grad=True)
    values = to_rows(
        score_labels(hidden, torch.zeros(VOCABULARY, HIDDEN), readout).log_probs, readout, len(ROWS.tokens)
    )
    values.sum().backward()
    assert values.tolist() == [0.0] * len(ROWS.tokens)


def test_half_precision_is_normalised_in_single_precision():
    layout = lay_out(ROWS)
    readout = read_out(layout, ROWS)
    hidden, weight = (states.detach().requires_grad_() for states in random_states(layout, 0, torch.bfloat16))
    found = score_labels(hidden[readout.positions], weight, readout, chunk_tokens=2).log_probs
    scores = torch.log_softmax((hidden[readout.positions] @ weight.T).detach().float(), -1)
    torch.testing.assert_close(found.detach(), scores[readout.sources, readout.labels])
    found.sum().backward()
    for states in (hidden, weight):
        assert states.grad is not None
        assert states.grad.dtype == torch.bfloat16


def test_under_autocast_logits_are_taken_in_its_precision():
    layout = lay_out(ROWS)
    readout = read_out(layout, ROWS)
    hidden, weight = random_states(layout, 0, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = score_labels(hidden[readout.positions], weight, readout).log_probs
        logits = torch.nn.functional.linear(hidden[readout.positions], weight)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.log_softmax(logits.float(), -1)[readout.sources, readout.labels])
    found.sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


def test_hidden_states_of_other_positions_are_refused():
    readout = read_out(lay_out(ROWS), ROWS)
    with pytest.raises(ValueError, match="expected hidden states of 5 positions"):
        score_labels(torch.zeros(4, HIDDEN), torch.zeros(VOCABULARY, HIDDEN), readout)
