"""One pass over rows, packed and row by row, on random trees and small random models: what tests and tables compare."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import (
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from treepo.packing import Exchange, Layout, Rows, lay_out, plan_micro_batches, read_out, scores_for_logits, to_rows
from treepo.packing.attention import IMPLEMENTATION, check_model, model_inputs

CONFIGS: dict[str, Callable[..., PretrainedConfig]] = {"qwen2": Qwen2Config, "qwen3": Qwen3Config, "llama": LlamaConfig}
OTHER_CONFIGS: dict[str, Callable[..., PretrainedConfig]] = {
    "qwen2 with windows": partial(Qwen2Config, use_sliding_window=True, sliding_window=12, max_window_layers=1),
    "mistral": partial(MistralConfig, sliding_window=12),
    "gemma3": partial(
        Gemma3TextConfig,
        sliding_window=12,
        layer_types=["sliding_attention", "full_attention"],
        query_pre_attn_scalar=16,
    ),
    "qwen3_moe": partial(Qwen3MoeConfig, moe_intermediate_size=48, num_experts=6, num_experts_per_tok=2),
}
"""Models with windows, which are shorter than the rows, and with experts."""


def make_model(kind: str, *, hidden: int = 64, layers: int = 2, vocabulary: int = 97, seed: int = 0) -> PreTrainedModel:
    """A random model with two query heads per key head; its weights are large enough that attention is not uniform."""
    torch.manual_seed(seed)
    config = (CONFIGS | OTHER_CONFIGS)[kind](
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=hidden // 4,
        max_position_embeddings=65536,
        initializer_range=0.1,
        tie_word_embeddings=False,
        dtype=torch.float32,
    )
    return AutoModelForCausalLM.from_config(config).train()


def grow_rows(
    rng: random.Random,
    *,
    prompts: int = 1,
    prompt_length: int = 20,
    width: int = 8,
    response_length: int = 40,
    fork: float = 0.1,
    vocabulary: int = 97,
) -> Rows:
    """Random trees of which each grows from one path by forks, at a rate per token, up to the width."""
    heads: list[list[int]] = []
    tails: list[list[int]] = []
    for _ in range(prompts):
        prompt = [rng.randrange(vocabulary) for _ in range(prompt_length)]
        active: list[list[int]] = [[]]
        for _ in range(response_length):
            for path in list(active):
                if len(active) < width and rng.random() < fork:
                    active.append(list(path))
            for path in active:
                path.append(rng.randrange(vocabulary))
        # The width is filled up at the root, and some rows end early.
        active += [[rng.randrange(vocabulary) for _ in range(response_length)] for _ in range(width - len(active))]
        heads += [prompt] * width
        tails += [path[: response_length if rng.random() < 0.7 else rng.randint(0, response_length)] for path in active]
    return Rows.of(heads, tails)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one pass over rows gave.

    Attributes:
        log_probs: Shape (row_tokens,), zero where no response token is.
        entropies: Likewise.
        loss: A random linear function of both, whose gradient is that of any loss over rows.
        loss_size: Sum of the sizes of the loss' terms, which have either sign and may cancel.
        gradients: By parameter name.
    """

    log_probs: Tensor
    entropies: Tensor
    loss: float
    loss_size: float
    gradients: dict[str, Tensor]


def pass_by_rows(model: PreTrainedModel, rows: Rows, *, seed: int = 0, autocast: bool = False) -> Outcome:
    """The plain way: every row alone through the model, sdpa attention, log-softmax in float32."""
    model.set_attn_implementation("sdpa")
    model.zero_grad()
    device = model.device
    parts = [rows.select([row]) for row in range(len(rows))]
    weights = _weights(rows, seed, device).split(rows.lengths.tolist())
    log_probs, entropies, loss, loss_size = [], [], 0.0, 0.0
    for part, weight in zip(parts, weights, strict=True):
        prompt, length = int(part.prompt_lengths), int(part.lengths)
        tokens = part.tokens.to(device)
        with _precision(device, autocast):
            logits = model(input_ids=tokens[None], use_cache=False).logits[0, :-1].float()
        scores = torch.log_softmax(logits, -1)
        own = scores.gather(-1, tokens[1:, None])[:, 0]
        entropy = -(scores.exp() * scores).sum(-1)
        keep = torch.arange(1, length, device=device) >= prompt
        terms = weight[1:] * torch.stack([own, entropy], -1) * keep[:, None]
        value = terms.sum()
        value.backward()
        loss += value.item()
        loss_size += terms.abs().sum().item()
        log_probs.append(torch.nn.functional.pad(own.detach() * keep, (1, 0)))
        entropies.append(torch.nn.functional.pad(entropy.detach() * keep, (1, 0)))
    return Outcome(
        log_probs=torch.cat(log_probs),
        entropies=torch.cat(entropies),
        loss=loss,
        loss_size=loss_size,
        gradients=_grads(model),
    )


def pass_packed(
    model: PreTrainedModel,
    rows: Rows,
    *,
    seed: int = 0,
    autocast: bool = False,
    max_tokens: int | None = None,
    group: dist.ProcessGroup | None = None,
) -> Outcome:
    """The packed way, in as many micro-batches as `max_tokens` asks for, and with a group on all of its ranks."""
    check_model(model.config)
    model.set_attn_implementation(IMPLEMENTATION)
    model.zero_grad()
    weights = _weights(rows, seed, model.device).split(rows.lengths.tolist())
    plan = plan_micro_batches(rows, max_tokens=max_tokens or len(rows.tokens))
    log_probs: dict[int, Tensor] = {}
    entropies: dict[int, Tensor] = {}
    loss = loss_size = 0.0
    for batch in plan.batches:
        part = rows.select(batch.rows)
        own, entropy = forward_packed(model, part, autocast=autocast, group=group)
        weight = torch.cat([weights[row] for row in batch.rows])
        terms = weight * torch.stack([own, entropy], -1)
        value = terms.sum()
        value.backward()
        loss += value.item()
        loss_size += terms.abs().sum().item()
        lengths = part.lengths.tolist()
        log_probs.update(zip(batch.rows, own.detach().split(lengths), strict=True))
        entropies.update(zip(batch.rows, entropy.detach().split(lengths), strict=True))
    return Outcome(
        log_probs=torch.cat([log_probs[row] for row in range(len(rows))]),
        entropies=torch.cat([entropies[row] for row in range(len(rows))]),
        loss=loss,
        loss_size=loss_size,
        gradients=_grads(model, group),
    )


def forward_packed(
    model: PreTrainedModel,
    rows: Rows,
    *,
    autocast: bool = False,
    layout: Layout | None = None,
    group: dist.ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies of all row tokens, each shape (row_tokens,), from one packed forward."""
    layout = layout or lay_out(rows)
    readout = read_out(layout, rows)
    # Blocks of a few tokens, so that a small tree is cut as often as a large one.
    exchange = None if group is None else Exchange(group, layout, readout, model.device, block=8)
    readout = readout.to(model.device)
    labels = readout if exchange is None else exchange.labels
    inputs = model_inputs(layout, model.device, exchange=exchange)
    head = model.get_output_embeddings()
    assert head is not None
    with (
        _precision(model.device, autocast),
        scores_for_logits(head, labels, entropy=True),
    ):
        scores = model(**inputs, use_cache=False, logits_to_keep=labels.positions).logits
    log_probs, entropies = scores if exchange is None else exchange.join(scores)
    count = len(rows.tokens)
    return to_rows(log_probs, readout, count), to_rows(entropies, readout, count)


def _weights(rows: Rows, seed: int, device: torch.device) -> Tensor:
    count = len(rows.tokens)
    return (torch.randn(count, 2, generator=torch.Generator().manual_seed(seed)) / count).to(device)


def _precision(device: torch.device, autocast: bool) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext()


def _grads(model: PreTrainedModel, group: dist.ProcessGroup | None = None) -> dict[str, Tensor]:
    grads = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    whole = {
        name: (grad.full_tensor() if isinstance(grad, DTensor) else grad).float().clone()
        for name, grad in grads.items()
    }
    if group is not None:
        # As FSDP would.
        for grad in whole.values():
            dist.all_reduce(grad, group=group)
            grad /= dist.get_world_size(group)
    return whole


def differences(one: Outcome, other: Outcome) -> dict[str, float]:
    """Relative errors of the first against the second.

    Log-probs and entropies by their largest entry, the loss by the sizes of its terms, gradients by the norm
    of each parameter's, the worst of them.
    """

    def largest(a: Tensor, b: Tensor) -> float:
        return ((a - b).abs().max() / b.abs().max()).item()

    gradients = {
        name: ((one.gradients[name] - gradient).norm() / gradient.norm()).item()
        for name, gradient in other.gradients.items()
    }
    return {
        "log-probs": largest(one.log_probs, other.log_probs),
        "entropies": largest(one.entropies, other.entropies),
        "loss": abs(one.loss - other.loss) / other.loss_size,
        "gradients": max(gradients.values()),
    }
