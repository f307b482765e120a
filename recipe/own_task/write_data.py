"""Writes the example's data: ``python -m recipe.own_task.write_data FOLDER``."""

import argparse
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recipe.own_task.word_order import MARK

_LIST = """
almond basket candle dragon eagle feather garden hammer island jacket kettle ladder mirror needle orange pencil
quiver ribbon saddle timber urchin velvet window yellow zipper anchor bridge castle desert engine
"""
WORDS = tuple(_LIST.split())
PROMPT = (
    "Sort these words alphabetically: {words}. Think it through first. Then end with one line that begins with "
    f"`{MARK}` and holds all words in order, with commas between them."
)


def row(words: list[str], *, split: str, index: int) -> dict[str, Any]:
    """One problem in verl's layout."""
    return {
        "data_source": "example/word_order",
        "prompt": [{"role": "user", "content": PROMPT.format(words=", ".join(words))}],
        "reward_model": {"style": "rule", "ground_truth": ", ".join(sorted(words))},
        "extra_info": {"split": split, "index": index},
    }


def problems(count: int, *, fewest: int, most: int, seed: int) -> Iterator[list[str]]:
    """So many different problems of a number of words in between; the same seed gives the same ones."""
    rng = random.Random(seed)
    seen: set[tuple[str, ...]] = set()
    while len(seen) < count:
        words = tuple(rng.sample(WORDS, rng.randint(fewest, most)))
        if words not in seen:
            seen.add(words)
            yield list(words)


def write(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Writes a parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def write_task(folder: Path, *, train: int = 2048, held_out: int = 128) -> tuple[Path, Path]:
    """Writes ``train.parquet`` and ``held_out.parquet``, no problem in both.

    Returns:
        The two files.
    """
    found = list(problems(train + held_out, fewest=4, most=8, seed=0))
    return (
        write(
            folder / "train.parquet", (row(words, split="train", index=at) for at, words in enumerate(found[:train]))
        ),
        write(
            folder / "held_out.parquet", (row(words, split="test", index=at) for at, words in enumerate(found[train:]))
        ),
    )


def main() -> None:
    """Writes both files into the folder that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    write_task(parser.parse_args().folder)


if __name__ == "__main__":
    main()
