"""Held-out accuracy of a saved model, sampled in plain PyTorch.

verl's own validation sends every sample through agent loop, queue and reward worker, which for a model this small takes
five times as long as the sampling; between runs the machine has nothing else to do.
"""

from pathlib import Path

import torch
from transformers import PreTrainedModel, Qwen2ForCausalLM, Qwen2Tokenizer
from transformers.utils import logging as transformers_logging

from treepo.quickstart.lessons import prompt_tokens
from treepo.quickstart.sampling import sample
from treepo.quickstart.settings import WarmStartSettings
from treepo.quickstart.task import DATA_SOURCE, held_out_chains
from treepo.rewards.math import compute_score


def held_out_accuracy(model: Path, tokenizer: Path, settings: WarmStartSettings, *, samples: int, seed: int) -> float:
    """Share of right answers, by the reward that the training uses.

    Args:
        model: Folder of the model.
        tokenizer: Folder of its tokenizer.
        settings: Of the task, and how long a response may be.
        samples: Of every held-out problem, at temperature 1.
        seed: Of the samples.
    """
    transformers_logging.disable_progress_bar()
    # The layers are too small to be shared out: a second thread makes it five times slower.
    torch.set_num_threads(1)
    network = Qwen2ForCausalLM.from_pretrained(model, dtype=torch.float32)
    return accuracy_of(network, Qwen2Tokenizer.from_pretrained(tokenizer), settings, samples=samples, seed=seed)


def accuracy_of(
    network: PreTrainedModel, words: Qwen2Tokenizer, settings: WarmStartSettings, *, samples: int, seed: int
) -> float:
    """As :func:`held_out_accuracy`, of a model that is loaded."""
    assert isinstance(words.eos_token_id, int)
    chains = held_out_chains(settings.task)
    prompts = [prompt_tokens(words, chain) for chain in chains]
    generator = torch.Generator().manual_seed(seed)
    right = 0.0
    for _ in range(samples):
        responses = sample(
            network,
            prompts,
            end=words.eos_token_id,
            max_new_tokens=settings.response_length,
            temperature=1.0,
            generator=generator,
        )
        for chain, response in zip(chains, responses, strict=True):
            text = str(words.decode(response, skip_special_tokens=True))
            right += compute_score(DATA_SOURCE, text, str(chain.answer))["acc"]
    return right / (samples * len(chains))
