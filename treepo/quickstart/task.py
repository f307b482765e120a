"""The quickstart's task: word chains as train and held-out parquet in the layout that verl reads."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from treepo.files.whole import write_whole
from treepo.quickstart.chains import Chain, draw_chain, story

DATA_SOURCE = "treepo/word_chains"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """What decides the task's content.

    Attributes:
        seed: Seed of all chains.
        train: Rows to train on.
        held_out: Rows to measure on; no arithmetic of theirs is among the training rows.
        fewest_steps: Days of the easiest chains.
        most_steps: Days of the hardest ones.
        largest: The largest stock.
    """

    seed: int = 0
    train: int = 2048
    held_out: int = 128
    fewest_steps: int = 2
    most_steps: int = 6
    largest: int = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFiles:
    """The written task.

    Attributes:
        train: Parquet to train on.
        held_out: Parquet to measure on.
    """

    train: Path
    held_out: Path


def draw(rng: random.Random, settings: TaskSettings) -> Chain:
    """One chain of the task's difficulty."""
    steps = rng.randint(settings.fewest_steps, settings.most_steps)
    return draw_chain(rng, steps=steps, largest=settings.largest)


def held_out_chains(settings: TaskSettings) -> list[Chain]:
    """The held-out problems, all of different arithmetic."""
    return _distinct(random.Random(f"held-out {settings.seed}"), settings, settings.held_out, set())


def train_chains(settings: TaskSettings) -> list[Chain]:
    """The training problems, none with the arithmetic of another or of a held-out one."""
    seen = {chain.arithmetic for chain in held_out_chains(settings)}
    return _distinct(random.Random(f"train {settings.seed}"), settings, settings.train, seen)


def _distinct(rng: random.Random, settings: TaskSettings, count: int, seen: set[tuple[int, ...]]) -> list[Chain]:
    chains: list[Chain] = []
    while len(chains) < count:
        chain = draw(rng, settings)
        if chain.arithmetic not in seen:
            seen.add(chain.arithmetic)
            chains.append(chain)
    return chains


def row(chain: Chain, *, split: str, index: int) -> dict[str, Any]:
    """A problem in verl's layout."""
    return {
        "data_source": DATA_SOURCE,
        "prompt": [{"role": "user", "content": story(chain)}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": str(chain.answer)},
        "extra_info": {"split": split, "index": index, "difficulty": len(chain.steps)},
    }


def write_task(folder: Path, settings: TaskSettings) -> TaskFiles:
    """Writes the task.

    Args:
        folder: Where to; made if need be.
        settings: What to write; the same settings give the same files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    datasets.disable_progress_bars()
    files = TaskFiles(train=folder / "train.parquet", held_out=folder / "held_out.parquet")
    for path, split, chains in (
        (files.train, "train", train_chains(settings)),
        (files.held_out, "held_out", held_out_chains(settings)),
    ):
        rows = [row(chain, split=split, index=index) for index, chain in enumerate(chains)]
        # Whole or not at all: a job that reads the task may be running.
        write_whole(path, datasets.Dataset.from_list(rows).to_parquet)
    return files
