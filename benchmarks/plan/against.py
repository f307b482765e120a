"""What the plan predicts beside what was measured: reads the measured numbers in ``docs/``, predicts, prints both.

    python -m benchmarks.plan.against

Counts of rollouts must be equal: the same trees are grown from the same seeds. Times are compared as ratios, in which
the machine cancels out: how many times as fast packed passes are as the same rows, by FLOPs and by the clock.
"""

import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.plan.growth import grow_trees, sample_independently
from benchmarks.plan.hardware import find_model
from benchmarks.plan.step import BLOCK
from benchmarks.plan.work import Pass, by_rows, log_probs, packed, update
from benchmarks.rollout.cell import Cell as RolloutCell
from benchmarks.rollout.lengths import draw_prompt_lengths, law
from benchmarks.update.cell import Cell as UpdateCell
from benchmarks.update.cell import Kind, grow
from treepo.packing import Rows, lay_out, read_out
from treepo.start.memory.model_shape import ModelShape

_DOCS = Path(__file__).parents[2] / "docs"
_TITLE = re.compile(
    r"^\*\*(?P<prompts>\d+) prompts of (?P<length>\d+) tokens x (?P<width>\d+), (?P<depth>\d+) x (?P<segment>\d+), "
    r"divergence (?P<most>\d+) (?P<budget>\w+), lengths (?P<lengths>\S+), (?P<slots>\d+) slots\*\*$"
)
_REPEATS = (1, 2, 3)
COUNTS: tuple[str, ...] = ("generated", "computed", "cached", "requests")
"""What both sides count, in the order of the rollout's tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutCount:
    """One cell of the rollout's benchmark.

    Attributes:
        cell: The setting.
        arm: ``(a) independent`` or ``(d) in-engine``.
        measured: By the names of `COUNTS`, as vLLM counted them.
        context: Tokens before a decoded token, in the mean, as measured.
    """

    cell: RolloutCell
    arm: str
    measured: dict[str, int]
    context: int

    def predict(self) -> tuple[dict[str, int], int]:
        """The same two by the plan: medians over the benchmark's three repeats."""
        cell = self.cell
        lengths = law(cell.lengths, cell.longest)
        assert lengths is not None
        prompts = draw_prompt_lengths(
            random.Random("prompts 0"), count=cell.prompts, mean=cell.prompt_length, block_size=BLOCK
        )
        sample = grow_trees if self.arm.startswith("(d)") else sample_independently
        runs = [sample(cell, lengths, prompts, seed=f"0 {repeat}", block=BLOCK) for repeat in _REPEATS]
        counts = {name: int(median(getattr(run, name) for run in runs)) for name in COUNTS}
        return counts, round(median(run.context / run.generated - 1 for run in runs))


def rollout_counts(page: Path = _DOCS / "rollout_tables.md") -> Iterator[RolloutCount]:
    """The arms of the measured cells whose lengths were drawn."""
    cell = None
    for line in page.read_text().splitlines():
        if (title := _TITLE.match(line)) is not None:
            cell = RolloutCell(
                prompts=int(title["prompts"]),
                prompt_length=int(title["length"]),
                width=int(title["width"]),
                segment_length=int(title["segment"]),
                max_depth=int(title["depth"]),
                max_divergence=int(title["most"]),
                budget=title["budget"],
                lengths=title["lengths"],
                slots=int(title["slots"]),
            )
        elif cell is not None and cell.lengths != "model" and line.startswith(("| (a) ", "| (d) ")):
            words = [word.strip().replace(",", "") for word in line.strip("|").split("|")]
            numbers: dict[str, int] = dict(zip(COUNTS, map(int, words[3:7]), strict=True))
            yield RolloutCount(cell=cell, arm=words[0], measured=numbers, context=int(words[9]))


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedSpeed:
    """One cell of the packing's benchmark on a GPU: times as fast as the same rows unpadded.

    Attributes:
        cell: The rows.
        attention: Measured ratio of the pairs of tokens that attend.
        log_probs: Measured speed-up of old log-probs.
        update: Measured speed-up of an update.
        seconds: Measured, packed: log-probs and update.
    """

    cell: UpdateCell
    attention: float
    log_probs: float
    update: float
    seconds: tuple[float, float]

    def predict(self, shape: ModelShape) -> tuple[Pass, Pass]:
        """What the rows and the packed tokens run on; both compute the logits of the responses' tokens alone."""
        rows = grow(self.cell, seed=0, vocabulary=30_000)
        longest = len(rows.tokens)
        whole = by_rows(rows, ranks=1, max_tokens=longest)
        return (
            Pass(
                tokens=whole.tokens,
                pairs=whole.pairs,
                logits=_response_logits(rows),
                micro_batches=1,
                total=whole.total,
            ),
            packed(rows, ranks=1, max_tokens=longest),
        )


def _response_logits(rows: Rows) -> int:
    return sum(len(read_out(lay_out(one), one).positions) for one in (rows.select([row]) for row in range(len(rows))))


def packed_speeds(page: Path = _DOCS / "packing.md") -> Iterator[PackedSpeed]:
    """The measured cells of Qwen2.5-7B's shape, all layers, on one GPU."""
    row = re.compile(
        r"^\| 1 tree of (?P<width>\d+) x (?P<length>[\d,]+), prompt (?P<prompt>[\d,]+) \| (?P<ratio>[\d.]+) "
        r"\| (?P<attention>[\d.]+) \| [\d.]+, (?P<old>[\d.]+) \| (?P<old_speed>[\d.]+) \| \d+% "
        r"\| [\d.]+, (?P<new>[\d.]+) \| (?P<new_speed>[\d.]+) \|"
    )
    for found in filter(None, map(row.match, page.read_text().splitlines())):
        cell = UpdateCell(
            kind=Kind.TREE,
            prompts=1,
            width=int(found["width"]),
            prompt_length=int(found["prompt"].replace(",", "")),
            row_length=int(found["length"].replace(",", "")),
            ratio=float(found["ratio"]),
        )
        yield PackedSpeed(
            cell=cell,
            attention=float(found["attention"]),
            log_probs=float(found["old_speed"]),
            update=float(found["new_speed"]),
            seconds=(float(found["old"]), float(found["new"])),
        )


def main() -> None:
    """Prints both comparisons as Markdown."""
    write = sys.stdout.write
    write("| lengths, budget | arm | " + " | ".join((*COUNTS, "tokens before a token")) + " |\n")
    write("| --- | --- |" + " ---: |" * (len(COUNTS) + 1) + "\n")
    for count in rollout_counts():
        predicted, context = count.predict()
        cells = [f"{predicted[name]:,} / {count.measured[name]:,}" for name in COUNTS]
        title = f"{count.cell.lengths}, {count.cell.budget}"
        write(f"| {title} | {count.arm} | {' | '.join(cells)} | {context} / {count.context} |\n")
    shape = find_model("qwen2_5_7b")
    head = (
        "rows",
        "attention ratio",
        "log-probs, times as fast",
        "update, times as fast",
        "TFLOP/s, packed: log-probs, update",
    )
    write("\n| " + " | ".join(head) + " |\n| --- |" + " ---: |" * (len(head) - 1) + "\n")
    for speed in packed_speeds():
        rows, own = speed.predict(shape)
        old = [log_probs(shape, each, ranks=1).flops for each in (rows, own)]
        new = [update(shape, each, ranks=1, steps=0).flops for each in (rows, own)]
        reached = [flops / seconds / 1e12 for flops, seconds in zip((old[1], new[1]), speed.seconds, strict=True)]
        write(
            f"| {speed.cell.title}, ratio {speed.cell.ratio} | {own.pairs / rows.pairs:.3f} / {speed.attention:.3f} "
            f"| {old[0] / old[1]:.2f} / {speed.log_probs:.2f} | {new[0] / new[1]:.2f} / {speed.update:.2f} "
            f"| {reached[0]:.0f}, {reached[1]:.0f} |\n"
        )


if __name__ == "__main__":
    main()
