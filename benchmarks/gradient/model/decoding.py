"""Grows many trees with the project's own sampler, their segments decoded in batches by plain PyTorch."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from benchmarks.gradient.model.policy import Policy
from treepo.config import TreePOConfig
from treepo.tree import Segment, SegmentRequest, Tree, TreeSampler

_ROWS = 128
"""Segments decoded together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What the model wrote behind a prefix.

    Attributes:
        tokens: Shape [n].
        log_probs: Of each, shape [n].
    """

    tokens: list[int]
    log_probs: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """Trees, and what they took.

    Attributes:
        trees: One per prompt.
        cpu_seconds: Of this process, for decoding.
    """

    trees: list[Tree]
    cpu_seconds: float


def grow_trees(policy: Policy, prompts: Sequence[int], config: TreePOConfig, *, seed: int) -> Grown:
    """Grows the trees of some prompts, a step of all of them at a time.

    Args:
        policy: The policy.
        prompts: Numbers of prompts of its training set.
        config: How the trees grow.
        seed: Of all tokens; the trees' own randomness is the configuration's.
    """
    samplers = [
        TreeSampler(
            prompt_id=str(number),
            prompt_tokens=policy.prompts[number].tokens,
            config=config,
            max_response_length=policy.response_length,
            eos_token_ids=frozenset({policy.end}),
            decode=policy.decode,
        )
        for number in prompts
    ]
    generator = torch.Generator().manual_seed(seed)
    began = time.process_time()
    wanted = [(sampler, request) for sampler in samplers for request in sampler.start()]
    while wanted:
        segments = _segments(policy, wanted, generator)
        wanted = [
            (sampler, following)
            for (sampler, _), segment in zip(wanted, segments, strict=True)
            for following in sampler.receive(segment)
        ]
    return Grown(trees=[sampler.tree() for sampler in samplers], cpu_seconds=time.process_time() - began)


def _segments(
    policy: Policy, wanted: Sequence[tuple[TreeSampler, SegmentRequest]], generator: torch.Generator
) -> list[Segment]:
    prefixes = [request.prefix_tokens(sampler.prompt_tokens) for sampler, request in wanted]
    limits = [request.max_tokens for _, request in wanted]
    # Alike in length, so that little is padded.
    order = sorted(range(len(wanted)), key=lambda index: (len(prefixes[index]), index))
    found: dict[int, Decoded] = {}
    for first in range(0, len(order), _ROWS):
        own = order[first : first + _ROWS]
        decoded = decode(
            policy.sampler,
            [prefixes[index] for index in own],
            limits=[limits[index] for index in own],
            end=policy.end,
            generator=generator,
        )
        found.update(zip(own, decoded, strict=True))
    return [
        Segment(
            request_id=request.id,
            tokens=found[index].tokens,
            log_probs=found[index].log_probs,
            stopped=found[index].tokens[-1] == policy.end,
        )
        for index, (_, request) in enumerate(wanted)
    ]


@torch.inference_mode()
def decode(
    model: PreTrainedModel,
    prefixes: Sequence[list[int]],
    *,
    limits: Sequence[int],
    end: int,
    generator: torch.Generator,
) -> list[Decoded]:
    """Continues every prefix at temperature 1.

    Args:
        model: A causal language model on the CPU.
        prefixes: Token ids, any lengths.
        limits: Most tokens behind each, at least 1.
        end: The token that ends a response.
        generator: The only source of randomness.
    """
    longest = max(map(len, prefixes))
    tokens = torch.tensor([[end] * (longest - len(prefix)) + prefix for prefix in prefixes])
    mask = torch.tensor([[0] * (longest - len(prefix)) + [1] * len(prefix) for prefix in prefixes])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    rows, cache = torch.arange(len(prefixes)), DynamicCache(config=model.config)
    room, done = torch.tensor(limits), torch.zeros(len(prefixes), dtype=torch.bool)
    found = [Decoded(tokens=[], log_probs=[]) for _ in prefixes]
    while True:
        logits = model(
            input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        ).logits[:, -1]
        drawn, log_probs = _draw(logits, generator)
        for row, over, token, log_prob in zip(
            rows.tolist(), done.tolist(), drawn.tolist(), log_probs.tolist(), strict=True
        ):
            if not over:
                found[row].tokens.append(token)
                found[row].log_probs.append(log_prob)
        room = room - 1
        done = done | (drawn == end) | (room <= 0)
        running = (~done).nonzero().flatten()
        if not len(running):
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        positions, tokens = positions[:, -1:] + 1, drawn[:, None]
        # Rows that ended are dropped in batches: selecting costs a copy of the whole cache.
        if len(running) <= 0.8 * len(rows):
            cache.batch_select_indices(running)
            rows, mask, positions = rows[running], mask[running], positions[running]
            tokens, room, done = tokens[running], room[running], done[running]
    return found


def _draw(logits: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One token per row of ``logits`` (rows, vocabulary), and its log-probability."""
    log_probs = logits.float().log_softmax(-1)
    drawn = torch.multinomial(log_probs.exp(), 1, generator=generator)
    return drawn.flatten(), log_probs.gather(1, drawn).flatten()
