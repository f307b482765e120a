"""Names the trees of a run, and tells apart those of a prompt that is sent off several times in one step."""

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Any


class Occurrences:
    """Counts in the trainer's process, where prompts are sent off in the order of the data.

    A prompt comes again where the data hold it twice, and where dynamic sampling goes through all of a small data set
    in one step. Its trees would then share one random stream, and with seeded requests be the same tree.
    """

    def __init__(self) -> None:
        self._step: int | None = None
        self._seen: Counter[str] = Counter()

    def count(self, step: int, prompts: Iterable[tuple[Any, Any]]) -> list[int]:
        """How often each prompt was sent off before in the step.

        Args:
            step: The step; another one than in the call before begins anew.
            prompts: The prompts' indices in the data, and their chat messages.

        Returns:
            0 for the first occurrence of a prompt, then 1, 2, ...
        """
        if step != self._step:
            self._step, self._seen = step, Counter()
        numbers = []
        for index, messages in prompts:
            prompt = json.dumps([str(index), messages], sort_keys=True, default=repr)
            numbers.append(self._seen[prompt])
            self._seen[prompt] += 1
        return numbers


def prompt_name(step: int, index: Any, prompt_ids: list[int], *, occurrence: int) -> str:
    """Names a prompt's tree alike in every run, which verl's uid does not; with the run seed it gives its randomness.

    Args:
        step: The step.
        index: The prompt's index in the data, which several prompts may share.
        prompt_ids: Its tokens.
        occurrence: How often it was sent off before in the step.
    """
    digest = hashlib.blake2b(array("q", prompt_ids).tobytes(), digest_size=4).hexdigest()
    again = f" again {occurrence}" if occurrence else ""
    return f"step {step} prompt {index} ({digest}){again}"
