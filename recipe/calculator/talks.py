"""Talks about word chains: a careless pupil asks a calculator on some days, and does the sum by head on others."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from recipe.calculator.calculator import Calculator, calculate
from treepo.environment import Turn
from treepo.quickstart.chains import Chain

_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A turn of the pupil, and what is answered; None behind the last."""

    text: str
    reply: str | None


def talk(chain: Chain, draws: random.Random, *, by_head: float, slip_chance: float, tools: bool) -> Iterator[Said]:
    """Talks about a problem.

    Args:
        chain: The problem.
        draws: The only source of randomness.
        by_head: How often a day's sum is done without the calculator.
        slip_chance: How often the carry or borrow of such a sum is forgotten; the error is carried on.
        tools: Whether the calculator is called as a tool of verl's, and not by a sum at the end of the turn.
    """
    stock, lines = chain.start, [f"Start: {chain.start}."]
    for step in chain.steps:
        day, asked = f"{step.day} {step.count} {step.change}:", f"{stock} {step.change.sign} {step.count}"
        if draws.random() < by_head:
            stock = step.apply_by_head(stock, slips=draws, slip_chance=slip_chance)
            lines.append(f"{day} {asked} = {stock}.")
        else:
            stock = step.apply(stock)
            ask = f"{day}\n{call_of(asked)}" if tools else f"{day} {asked} ="
            yield Said(text="\n".join([*lines, ask]), reply=str(stock))
            lines = []
    yield Said(text="\n".join([*lines, f"The answer is \\boxed{{{stock}}}."]), reply=None)


def call_of(expression: str) -> str:
    """A call of the tool, in the form of verl's parser ``hermes``."""
    return f"<tool_call>{json.dumps({'name': 'calculate', 'arguments': {'expression': expression}})}</tool_call>"


def reply_to(text: str, *, tools: bool) -> str | None:
    """What is answered to a turn; None where the talk ends with it."""
    if not tools:
        calculator, turn = Calculator(), Turn(text=text, number=1, last=False, seed=0)
        return None if calculator.check_finished(turn) else calculator.step(turn).messages[0]["content"]
    found = _CALL.search(text)
    if found is None:
        return None
    try:
        return calculate(json.loads(found[1])["arguments"]["expression"])
    except (ValueError, KeyError, TypeError, AttributeError):
        # No call that verl would read.
        return None


def reply_text(reply: str, *, tools: bool) -> str:
    """A reply as the chat template writes it behind a turn's end token, with the prompt of the next turn."""
    role = "tool" if tools else "user"
    return f"\n<|im_start|>{role}\n{reply}<|im_end|>\n<|im_start|>assistant\n"
