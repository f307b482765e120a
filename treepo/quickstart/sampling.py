"""Batched sampling with a key-value cache in plain PyTorch: enough to measure a tiny model's accuracy in seconds."""

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


@torch.inference_mode()
def sample(
    model: PreTrainedModel,
    prompts: list[list[int]],
    *,
    end: int,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator,
) -> list[list[int]]:
    """One response per prompt.

    Args:
        model: A causal language model on the CPU.
        prompts: Token ids, any lengths.
        end: The token that ends a response.
        max_new_tokens: Tokens per response at most.
        temperature: 0 is greedy.
        generator: The only source of randomness.

    Returns:
        The responses' token ids in the order of the prompts, each with its end token where it got there.
    """
    longest = max(map(len, prompts))
    tokens = torch.tensor([[end] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    rows = torch.arange(len(prompts))
    cache = DynamicCache(config=model.config)
    responses: list[list[int]] = [[] for _ in prompts]
    for _ in range(max_new_tokens):
        logits = model(
            input_ids=tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        ).logits[:, -1]
        tokens = _draw(logits, temperature, generator)
        for row, token in zip(rows.tolist(), tokens.tolist(), strict=True):
            responses[row].append(token)
        running = (tokens != end).nonzero().flatten()
        if not len(running):
            break
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        positions = positions[:, -1:] + 1
        tokens = tokens[:, None]
        # Rows that ended are dropped in batches: selecting costs a copy of the whole cache.
        if len(running) <= 0.8 * len(rows):
            cache.batch_select_indices(running)
            rows, mask, positions, tokens = rows[running], mask[running], positions[running], tokens[running]
    return [_until(end, response) for response in responses]


def _draw(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """One token per row of ``logits`` (rows, vocabulary)."""
    if temperature == 0:
        return logits.argmax(-1)
    probabilities = (logits.float() / temperature).softmax(-1)
    return torch.multinomial(probabilities, 1, generator=generator).flatten()


def _until(end: int, response: list[int]) -> list[int]:
    return response[: response.index(end) + 1] if end in response else response
