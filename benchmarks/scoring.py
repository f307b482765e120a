"""How fast answers are judged, and how many by reading alone.

    python -m benchmarks.scoring

The answers are those of the scorer's test table, odd ones on purpose, beside whole numbers as most benchmarks
have them. The judging processes are started before the clock; processor speed and their number decide the rest.
"""

import argparse
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from treepo.rewards.judge import Judge
from treepo.rewards.scoring import judge_many
from treepo.rewards.verdict import VerdictPath, count_paths, fast_share

TABLE = Path(__file__).parents[1] / "tests" / "unit" / "rewards" / "pairs.yaml"

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What judging one load took.

    Attributes:
        load: Its name.
        answers: How many.
        seconds: Wall time.
        reading: Processor time of the calling process, which reads; other programs hardly change it.
        fast: Share decided by reading alone.
        unfinished: Answers whose judging process was killed or died.
    """

    load: str
    answers: int
    seconds: float
    reading: float
    fast: float
    unfinished: int


def table_pairs() -> list[Pair]:
    """The (response, ground truth) pairs of the test table, known limits left out."""
    table = yaml.safe_load(TABLE.read_text())
    return [
        (rf"Some steps first. \boxed{{{answer}}}", truth)
        for kind, sides in table.items()
        if kind != "limits"
        for pairs in sides.values()
        for answer, truth in pairs
    ]


def loads(repeats: int, seed: int) -> dict[str, list[Pair]]:
    """Every load by its name."""
    rng = random.Random(seed)
    table = table_pairs()
    mixed = table * repeats
    rng.shuffle(mixed)
    numbers = [(rf"\boxed{{{rng.randrange(1000)}}}", str(rng.randrange(1000))) for _ in range(len(mixed))]
    different = [
        (rf"\boxed{{(x+{number})^2-{rng.randrange(2)}}}", rf"x^2+{2 * number}x+{number**2}")
        for number in range(1, len(table) + 1)
    ]
    return {
        "whole numbers": numbers,
        "test table, each once": table,
        f"test table, {repeats} times, shuffled": mixed,
        "expressions, each different": different,
    }


def measure(load: str, pairs: Sequence[Pair], *, workers: int) -> Speed:
    """Judges a load with a judge of its own, its processes started beforehand."""
    judge = Judge(workers=workers)
    try:
        judge.rule_all([("a+b", f"b+a+{number}") for number in range(4 * workers)])
        start, reading = time.perf_counter(), time.process_time()
        verdicts = judge_many(pairs, data_source="benchmark", judge=judge)
        seconds, reading = time.perf_counter() - start, time.process_time() - reading
    finally:
        judge.close()
    counts = count_paths(verdicts)
    unfinished = counts[VerdictPath.TIMEOUT] + counts[VerdictPath.CRASH]
    return Speed(
        load=load,
        answers=len(verdicts),
        seconds=seconds,
        reading=reading,
        fast=fast_share(verdicts),
        unfinished=unfinished,
    )


def main() -> None:
    """Prints one row per load, as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="judging processes")
    parser.add_argument("--repeats", type=int, default=40, help="how often the mixed load holds the table")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print("| answers | number | by reading alone | reading, each | answers per second | killed |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for load, pairs in loads(args.repeats, args.seed).items():
        speed = measure(load, pairs, workers=args.workers)
        rate, each = speed.answers / speed.seconds, 1e6 * speed.reading / speed.answers
        print(
            f"| {load} | {speed.answers:,} | {speed.fast:.1%} | {each:,.0f} µs | {rate:,.0f} | {speed.unfinished} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
