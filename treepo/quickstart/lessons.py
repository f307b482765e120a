"""What a tiny model is warm-started on: the workings of a careless pupil, or lessons of another kind."""

import random
from collections.abc import Iterable
from typing import Protocol, cast

import torch
from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

from treepo.quickstart.chains import Chain, story, working
from treepo.quickstart.sampling import sample
from treepo.quickstart.settings import WarmStartSettings
from treepo.quickstart.task import train_chains
from treepo.rewards.boxed import last_boxed

IGNORED = -100
"""The label of a token that is read and not learned."""


class Lessons(Protocol):
    """What a model is warm-started on."""

    @property
    def settings(self) -> WarmStartSettings:
        """The task, the model, and how long it learns."""
        ...

    def texts(self) -> Iterable[str]:
        """What the tokenizer learns its merges from."""
        ...

    def lesson(self, tokenizer: Qwen2Tokenizer, chain: Chain, slips: random.Random) -> tuple[list[int], list[int]]:
        """A problem with its answer, as a pupil of chance writes it.

        Args:
            tokenizer: The model's.
            chain: The problem.
            slips: The only source of randomness.

        Returns:
            The tokens, and the label of each: itself, or :data:`IGNORED`. Shapes [n] and [n].
        """
        ...

    def accuracy(
        self, model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, chains: list[Chain], *, temperature: float
    ) -> float:
        """Share of problems that the model gets right, one sample each; temperature 0 is greedy."""
        ...


class Workings:
    """The quickstart's lessons: a working in one piece, with forgotten carries."""

    def __init__(self, settings: WarmStartSettings) -> None:
        """Keeps the settings."""
        self.settings = settings

    def texts(self) -> Iterable[str]:
        """The training problems with their right workings."""
        return (f"user\n{story(chain)}\nassistant\n{working(chain)}\n" for chain in train_chains(self.settings.task))

    def lesson(self, tokenizer: Qwen2Tokenizer, chain: Chain, slips: random.Random) -> tuple[list[int], list[int]]:
        """The prompt, and the working to be learned."""
        text = working(chain, slips=slips, slip_chance=self.settings.slip_chance)
        prompt, written = prompt_tokens(tokenizer, chain), [*tokenizer.encode(text), end_token(tokenizer)]
        return [*prompt, *written], [*[IGNORED] * len(prompt), *written]

    def accuracy(
        self, model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, chains: list[Chain], *, temperature: float
    ) -> float:
        """Share of problems with the right number in the last box."""
        responses = sample(
            model,
            [prompt_tokens(tokenizer, chain) for chain in chains],
            end=end_token(tokenizer),
            max_new_tokens=self.settings.response_length,
            temperature=temperature,
            generator=torch.Generator().manual_seed(self.settings.seed),
        )
        texts = [str(tokenizer.decode(response)) for response in responses]
        right = [last_boxed(text) == str(chain.answer) for text, chain in zip(texts, chains, strict=True)]
        return sum(right) / len(chains)


def prompt_tokens(tokenizer: Qwen2Tokenizer, chain: Chain) -> list[int]:
    """The prompt as the rollout sees it."""
    messages = [{"role": "user", "content": story(chain)}]
    tokens = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    return cast(list[int], tokens)


def end_token(tokenizer: Qwen2Tokenizer) -> int:
    """The token that ends a turn."""
    assert isinstance(tokenizer.eos_token_id, int)
    return tokenizer.eos_token_id
