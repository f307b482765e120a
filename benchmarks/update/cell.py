"""What is measured: rows with a wanted share of tokens in common, and what an engine made of them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle

from treepo.packing import Rows


class Kind(StrEnum):
    """What the rows of a prompt have in common."""

    TREE = "tree"
    GROUP = "group"


class Arm(StrEnum):
    """Which engine computes."""

    STOCK = "stock"
    PACKED = "packed"


class Part(StrEnum):
    """What is computed: a forward pass with entropies, or forward, backward and the optimizer's step."""

    LOG_PROBS = "old log-probs"
    UPDATE = "update"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One setting. All rows are equally long, so that padding costs no engine anything.

    Attributes:
        kind: Trees, or groups that share the prompt alone.
        prompts: Prompts.
        width: Rows of each.
        prompt_length: Tokens of a prompt.
        row_length: Tokens of prompt and response.
        ratio: Wanted distinct tokens over tokens of all rows.
        max_tokens: Tokens of a micro-batch; None for all at once.

    Raises:
        ValueError: Rows of these lengths cannot have that ratio.
    """

    kind: Kind
    prompts: int
    width: int
    prompt_length: int
    row_length: int
    ratio: float
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        most = (self.width - 1) * (self.row_length - self.prompt_length - 1)
        if not 0 < self.prompt_length < self.row_length or not 0 <= self.shared <= most:
            raise ValueError(
                f"ratio {self.ratio} is out of reach: {self.width} rows of {self.row_length} with a prompt of "
                f"{self.prompt_length}"
            )

    @property
    def row_tokens(self) -> int:
        """Tokens of all rows."""
        return self.prompts * self.width * self.row_length

    @property
    def shared(self) -> int:
        """Response tokens of a prompt's rows that are another row's, too; below 0 if the prompt is more than wanted."""
        if self.kind is Kind.GROUP:
            return 0
        spared = round(self.width * self.row_length * (1 - self.ratio))
        return spared - (self.width - 1) * self.prompt_length

    @property
    def title(self) -> str:
        """A few words."""
        if self.width == 1:
            words = f"{self.prompts} rows of {self.row_length} of as many prompts"
        else:
            name = self.kind if self.prompts == 1 else f"{self.kind}s"
            words = f"{self.prompts} {name} of {self.width} x {self.row_length}, prompt {self.prompt_length}"
        return words if self.max_tokens is None else f"{words}, {self.max_tokens} per micro-batch"


def of_ratio(
    kind: Kind, ratio: float, *, width: int, row_length: int, prompts: int = 1, max_tokens: int | None = None
) -> Cell:
    """Rows of one length: a group's prompt is as long as the ratio asks; half of what a tree spares is its prompt's."""
    if ratio >= 1:
        kind, prompts, width, ratio, prompt = Kind.GROUP, prompts * width, 1, 1.0, float(row_length // 4)
    else:
        prompt = row_length * _prompt_share(kind, ratio, width)
    return Cell(
        kind=kind,
        prompts=prompts,
        width=width,
        prompt_length=max(1, round(prompt)),
        row_length=row_length,
        ratio=ratio,
        max_tokens=max_tokens,
    )


def of_prompt(
    kind: Kind, ratio: float, *, width: int, prompt_length: int, prompts: int = 1, max_tokens: int | None = None
) -> Cell:
    """The same law with the prompt given: the rows are as long as the ratio asks."""
    if not 1 / width < ratio < 1:
        raise ValueError(f"ratio {ratio} is out of reach with {width} rows: it lies between {1 / width:.3f} and 1")
    row = round(prompt_length / _prompt_share(kind, ratio, width))
    return Cell(
        kind=kind,
        prompts=prompts,
        width=width,
        prompt_length=prompt_length,
        row_length=row,
        ratio=ratio,
        max_tokens=max_tokens,
    )


def of_lengths(
    kind: Kind,
    *,
    width: int,
    prompt_length: int,
    response_length: int,
    shared: float,
    max_tokens: int | None = None,
) -> Cell:
    """Rows of given lengths: the ratio follows, for trees with this share of the response tokens spared."""
    row = prompt_length + response_length
    spared = prompt_length * (width - 1)
    if kind is Kind.TREE:
        spared += round(shared * width * response_length)
    return Cell(
        kind=kind,
        prompts=1,
        width=width,
        prompt_length=prompt_length,
        row_length=row,
        ratio=1 - spared / (width * row),
        max_tokens=max_tokens,
    )


def _prompt_share(kind: Kind, ratio: float, width: int) -> float:
    return (1 - ratio) * width / (width - 1) * (1.0 if kind is Kind.GROUP else 0.5)


def grow(cell: Cell, *, seed: int, vocabulary: int) -> Rows:
    """Random rows with exactly the tokens in common that the cell asks for.

    Args:
        cell: The cell.
        seed: Draws tokens, and where trees fork.
        vocabulary: Token ids are below it; more than a prompt's rows, and than prompts.
    """
    draw = random.Random(f"{seed} {cell}")
    heads: list[list[int]] = []
    tails: list[list[int]] = []
    length = cell.row_length - cell.prompt_length
    for index in range(cell.prompts):
        # Prompts differ in their first token, and so share nothing.
        prompt = [index, *(draw.randrange(vocabulary) for _ in range(cell.prompt_length - 1))]
        rows: list[list[int]] = []
        for fork in [0, *_forks(draw, cell.shared, cell.width - 1, length - 1)]:
            trunk = draw.choice(rows)[:fork] if rows else []
            # What follows a fork differs from what follows there in every other row.
            taken = {row[fork] for row in rows}
            first = draw.choice([token for token in range(vocabulary) if token not in taken])
            rows.append([*trunk, first, *(draw.randrange(vocabulary) for _ in range(length - fork - 1))])
        heads += [prompt] * cell.width
        tails += rows
    return Rows.of(heads, tails)


def _forks(draw: random.Random, total: int, count: int, most: int) -> list[int]:
    """Depths of forks, evenly spread around their mean, that add up to `total`; each at most `most`."""
    if not count:
        return []
    reach = min(total / count, most - total / count)
    depths = [round(total / count + draw.uniform(-reach, reach)) for _ in range(count)]
    left = total - sum(depths)
    for place in cycle(range(count)):
        if not left:
            return depths
        step = 1 if left > 0 else -1
        if 0 <= depths[place] + step <= most:
            depths[place] += step
            left -= step
    raise AssertionError("unreachable: a cycle does not end")


@dataclass(slots=True, kw_only=True)
class Measured:
    """One part of one arm.

    Attributes:
        seconds: Of each repeat.
        peak: Bytes that it holds at most, above what it holds before.
        micro_batches: Forward passes.
        tokens: Tokens that the model ran on.
    """

    seconds: list[float]
    peak: int
    micro_batches: int
    tokens: int


@dataclass(slots=True, kw_only=True)
class Outcome:
    """One cell.

    Attributes:
        cell: The cell.
        row_tokens: Tokens of all rows.
        packed_tokens: Distinct ones.
        found: What was measured.
        apart: Largest difference of a log-prob between the arms, over the largest log-prob.
    """

    cell: Cell
    row_tokens: int
    packed_tokens: int
    found: dict[Part, dict[Arm, Measured]]
    apart: float

    @property
    def ratio(self) -> float:
        """Distinct tokens over tokens of all rows."""
        return self.packed_tokens / self.row_tokens


def largest_difference(one: Sequence[float], other: Sequence[float]) -> float:
    """Of two lists' entries, over the second's largest."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) / max(abs(entry) for entry in other)
