"""Arithmetic word chains: a stock that changes day by day, the working line by line, and a careless pupil's slips."""

import random
from dataclasses import dataclass
from enum import StrEnum

NAMES = ("Ana", "Ben", "Lena", "Mia", "Omar", "Ravi", "Tom", "Zoe")
THINGS = ("apples", "beads", "books", "cards", "coins", "cups", "eggs", "shells")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Change(StrEnum):
    """What a day does to the stock."""

    BOUGHT = "bought"
    SOLD = "sold"

    @property
    def sign(self) -> str:
        """The change as it is written in the working."""
        return "+" if self is Change.BOUGHT else "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One day.

    Attributes:
        day: The weekday, the label of the step in story and working.
        change: Whether things come or go.
        count: How many, 2 to 9.
    """

    day: str
    change: Change
    count: int

    def apply(self, stock: int) -> int:
        """The stock after the day."""
        return stock + self.count if self.change is Change.BOUGHT else stock - self.count

    def apply_by_head(self, stock: int, *, slips: random.Random, slip_chance: float) -> int:
        """The stock after the day as a careless pupil has it, who forgets a carry or borrow where one is due.

        Args:
            stock: Before the day.
            slips: Draws the slips.
            slip_chance: How often a carry or borrow is forgotten.
        """
        after = self.apply(stock)
        if self.carries(stock) and slips.random() < slip_chance:
            after += -10 if self.change is Change.BOUGHT else 10
        # A stock cannot be negative, also not a mistaken one.
        return max(after, after % 10)

    def carries(self, stock: int) -> bool:
        """Whether the working needs a carry or a borrow."""
        ones = stock % 10
        return ones + self.count >= 10 if self.change is Change.BOUGHT else ones < self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One word problem.

    Attributes:
        name: Who keeps the stock.
        thing: What is counted, in the plural.
        start: The stock at the beginning.
        steps: The days in order; their number is the problem's difficulty.
    """

    name: str
    thing: str
    start: int
    steps: tuple[Step, ...]

    @property
    def arithmetic(self) -> tuple[int, ...]:
        """The numbers alone: chains that agree in it differ in wording at most."""
        return (self.start, *(step.apply(0) for step in self.steps))

    @property
    def answer(self) -> int:
        """The stock after the last day."""
        stock = self.start
        for step in self.steps:
            stock = step.apply(stock)
        return stock


def draw_chain(rng: random.Random, *, steps: int, largest: int) -> Chain:
    """Draws a chain whose stock stays within 1 and ``largest``.

    Args:
        rng: The only source of randomness.
        steps: Number of days, 1 to 7.
        largest: The largest stock, at least 12.
    """
    start = stock = rng.randint(2, largest // 2)
    first_day = rng.randrange(len(DAYS))
    drawn: list[Step] = []
    for position in range(steps):
        room = {Change.BOUGHT: largest - stock, Change.SOLD: stock - 1}
        change = rng.choice([change for change, most in room.items() if most >= 2])
        step = Step(
            day=DAYS[(first_day + position) % len(DAYS)], change=change, count=rng.randint(2, min(9, room[change]))
        )
        drawn.append(step)
        stock = step.apply(stock)
    return Chain(name=rng.choice(NAMES), thing=rng.choice(THINGS), start=start, steps=tuple(drawn))


def story(chain: Chain) -> str:
    """The text of the prompt."""
    lines = [f"{chain.name} has {chain.start} {chain.thing}."]
    lines += [f"{step.day} {step.count} {step.change}." for step in chain.steps]
    lines.append(f"How many {chain.thing} in the end?")
    return "\n".join(lines)


def working(chain: Chain, *, slips: random.Random | None = None, slip_chance: float = 0.0) -> str:
    """The solution, a line per day, the answer in a box on the last.

    Args:
        chain: The problem.
        slips: Draws the slips of a careless pupil; None for the right working.
        slip_chance: How often a carry or borrow is forgotten where one is due; the error is carried on.
    """
    stock = chain.start
    lines = [f"Start: {stock}."]
    for step in chain.steps:
        after = step.apply(stock) if slips is None else step.apply_by_head(stock, slips=slips, slip_chance=slip_chance)
        lines.append(f"{step.day} {step.count} {step.change}: {stock} {step.change.sign} {step.count} = {after}.")
        stock = after
    lines.append(f"The answer is \\boxed{{{stock}}}.")
    return "\n".join(lines)
