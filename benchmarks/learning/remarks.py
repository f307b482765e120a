"""Lessons whose workings begin with remarks that decide nothing."""

import random
from collections.abc import Iterable

from transformers import Qwen2Tokenizer

from benchmarks.learning.tasks import RemarkSettings, draw_remarks
from treepo.quickstart.chains import Chain, story, working
from treepo.quickstart.lessons import IGNORED, Workings, end_token, prompt_tokens
from treepo.quickstart.settings import WarmStartSettings
from treepo.quickstart.task import train_chains


class RemarkedWorkings(Workings):
    """Workings with forgotten carries, behind remarks in a random choice and order: the model has to choose, too."""

    def __init__(self, settings: WarmStartSettings) -> None:
        """Keeps the settings."""
        assert isinstance(settings, RemarkSettings), "the task names its own settings"
        super().__init__(settings)
        self._count = settings.remarks

    def texts(self) -> Iterable[str]:
        """The training problems with remarks and their right workings."""
        draws = random.Random(f"remarks {self.settings.seed}")
        return (
            f"user\n{story(chain)}\nassistant\n{draw_remarks(draws, self._count)}{working(chain)}\n"
            for chain in train_chains(self.settings.task)
        )

    def lesson(self, tokenizer: Qwen2Tokenizer, chain: Chain, slips: random.Random) -> tuple[list[int], list[int]]:
        """The prompt, and remarks and working to be learned."""
        text = draw_remarks(slips, self._count) + working(chain, slips=slips, slip_chance=self.settings.slip_chance)
        prompt, written = prompt_tokens(tokenizer, chain), [*tokenizer.encode(text), end_token(tokenizer)]
        return [*prompt, *written], [*[IGNORED] * len(prompt), *written]
