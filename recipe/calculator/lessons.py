"""The pupil's talks as lessons of the warm start: who asks is right then, and what is left to find for RL is to ask."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

from recipe.calculator.talks import Said, reply_text, reply_to, talk
from treepo.quickstart.chains import Chain, story
from treepo.quickstart.lessons import IGNORED, end_token, prompt_tokens
from treepo.quickstart.sampling import sample
from treepo.quickstart.settings import WarmStartSettings
from treepo.quickstart.task import TaskSettings, train_chains
from treepo.rewards.boxed import last_boxed


@dataclass(frozen=True, slots=True, kw_only=True)
class TalkSettings(WarmStartSettings):
    """What decides the warm-started model; ``response_length`` is that of a turn.

    Attributes:
        tools: Whether the calculator is a tool of verl's.
        by_head: How often the pupil does a sum without the calculator.
        most_turns: Turns of a talk, at most.
        falling: Steps over which the learning rates fall to zero, the last ones.
    """

    version: ClassVar[int] = 1

    task: TaskSettings = field(default_factory=lambda: TaskSettings(fewest_steps=2, most_steps=3))
    slip_chance: float = 0.8
    # Never reached before the learning rates have fallen.
    target: float = 1.0
    band: tuple[float, float] = (0.08, 0.6)
    most_steps: int = 260
    check_every: int = 130
    response_length: int = 80
    tools: bool = False
    by_head: float = 0.6
    most_turns: int = 5
    falling: int = 100

    def rate(self, step: int) -> float:
        """Share of the learning rates that a step has: they rise, stay, and fall over the last steps."""
        return min(WarmStartSettings.rate(self, step), (self.most_steps + 1 - step) / self.falling)


class Talks:
    """Talks about word chains, see :class:`treepo.quickstart.lessons.Lessons`."""

    def __init__(self, settings: TalkSettings) -> None:
        """Keeps the settings."""
        self.settings = settings

    def texts(self) -> Iterable[str]:
        """The training problems with a talk about each."""
        draws = random.Random(f"texts {self.settings.seed}")
        for chain in train_chains(self.settings.task):
            turns = "".join(
                turn.text if turn.reply is None else turn.text + reply_text(turn.reply, tools=self.settings.tools)
                for turn in self._talk(chain, draws)
            )
            yield f"user\n{story(chain)}\nassistant\n{turns}\n"

    def lesson(self, tokenizer: Qwen2Tokenizer, chain: Chain, slips: random.Random) -> tuple[list[int], list[int]]:
        """A talk; what the pupil says is learned, and what the calculator says is read."""
        tokens = prompt_tokens(tokenizer, chain)
        labels = [IGNORED] * len(tokens)
        for turn in self._talk(chain, slips):
            written = [*tokenizer.encode(turn.text), end_token(tokenizer)]
            read = [] if turn.reply is None else tokenizer.encode(reply_text(turn.reply, tools=self.settings.tools))
            tokens += [*written, *read]
            labels += [*written, *[IGNORED] * len(read)]
        return tokens, labels

    def accuracy(
        self, model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, chains: list[Chain], *, temperature: float
    ) -> float:
        """Share of problems with the right number in the last turn's box, one talk each."""
        generator, end = torch.Generator().manual_seed(self.settings.seed), end_token(tokenizer)
        going = [(chain, prompt_tokens(tokenizer, chain)) for chain in chains]
        right = 0
        for _ in range(self.settings.most_turns):
            turns = sample(
                model,
                [tokens for _, tokens in going],
                end=end,
                max_new_tokens=self.settings.response_length,
                temperature=temperature,
                generator=generator,
            )
            answered = []
            for (chain, tokens), turn in zip(going, turns, strict=True):
                text = str(tokenizer.decode(turn, skip_special_tokens=True))
                reply = reply_to(text, tools=self.settings.tools) if turn[-1] == end else None
                if reply is None:
                    right += last_boxed(text) == str(chain.answer)
                else:
                    told = tokenizer.encode(reply_text(reply, tools=self.settings.tools))
                    answered.append((chain, [*tokens, *turn, *told]))
            going = answered
            if not going:
                break
        return right / len(chains)

    def _talk(self, chain: Chain, draws: random.Random) -> Iterable[Said]:
        settings = self.settings
        return talk(chain, draws, by_head=settings.by_head, slip_chance=settings.slip_chance, tools=settings.tools)
