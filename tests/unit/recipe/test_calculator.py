"""The calculator's example: its environment and its tool answer alike, along every path of a tree."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from tiny_stack import write_tiny_model
from training_run import ROOT
from verl.tools.function_tool import load_function_tools_from_path
from verl_talks import TOKENIZER, call, talk

from recipe.calculator.calculator import Calculator, calculate
from treepo.environment import Turn
from treepo.verl.rollout.agent_loop import TreeAgentLoop

TOOL = ROOT / "recipe/calculator/tool.py"
ENVIRONMENT = (
    "treepo.environment.name=recipe.calculator.calculator:Calculator",
    "treepo.environment.fork=fork",
)


def turn(text: str) -> Turn:
    return Turn(text=text, number=1, last=False, seed=0)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Start: 31.\nMonday 5 bought: 31 + 5 =", "36"),
        ("Monday 5 sold: 31 - 5 = ", "26"),
        ("31 + 5 = 36.", "no sum"),
        ("31 x 5 =", "no sum"),
        ("", "no sum"),
    ],
)
def test_the_calculator_answers_the_sum_at_a_turns_end(text: str, answer: str) -> None:
    (message,) = Calculator().step(turn(text)).messages
    assert message == {"role": "user", "content": answer}


def test_a_box_ends_the_talk_and_a_copy_answers_alike() -> None:
    assert Calculator().check_finished(turn(r"The answer is \boxed{36}."))
    assert not Calculator().check_finished(turn("31 + 5 ="))
    assert Calculator().fork().step(turn("1 + 1 =")) == Calculator().step(turn("1 + 1 ="))


def tool() -> Any:
    (found,) = load_function_tools_from_path(str(TOOL))
    return found


def test_the_tool_is_found_by_verls_loader_and_answers_like_the_environment() -> None:
    assert tool().name == "calculate"
    assert asyncio.run(tool().call({"expression": "31 + 5"})) == calculate("31 + 5") == "36"


def pupil(last: str, number: int, *, tools: bool) -> str:
    """Begins with a sum of its own, adds one to what it is told, and answers above a hundred."""
    told = re.search(r"\n(\d+)$", last)
    if told is None:
        expression = f"{90 + 3 * (number % 2)} + {number}"
    elif int(told[1]) > 99:
        return rf"The answer is \boxed{{{told[1]}}}."
    else:
        expression = f"{told[1]} + 5"
    return call("calculate", expression=expression) if tools else f"{expression} ="


@pytest.mark.parametrize("tools", [False, True])
def test_along_every_path_the_next_sum_is_of_the_last_result(tools: bool, tmp_path: Path) -> None:
    outputs = talk(
        TreeAgentLoop,
        lambda last, number: pupil(last, number, tools=tools),
        write_tiny_model(tmp_path / "model"),
        *("actor_rollout_ref.rollout.response_length=700", "treepo.max_depth=6"),
        *(() if tools else ENVIRONMENT),
        tools=[tool()] if tools else None,
        treepo_asked_agent="tool_agent" if tools else "single_turn_agent",
    )
    for output in outputs:
        text = TOKENIZER.decode(output.response_ids)
        sums = [tuple(map(int, found)) for found in re.findall(r"(\d+) \+ (\d+)", text)]
        results = [int(found) for found in re.findall(r"(?:user|tool)\n(\d+)<", text)]
        assert results == [left + right for left, right in sums]
        assert [left for left, _ in sums[1:]] == results[:-1]
        assert text.endswith(rf"The answer is \boxed{{{results[-1]}}}.<|im_end|>")
        assert output.extra_fields["treepo"]["reason"] == "answered"
