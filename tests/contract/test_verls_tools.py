"""verl's own tools, a ``BaseTool`` and a ``FunctionTool`` by verl's own loader, in a rollout on a real vLLM server.

The server's model is a random one, which seldom ends a turn and calls no tool. So every fourth token ends a turn, as
stop tokens of a parser would, and the parser takes every turn for two calls.
"""

import asyncio
import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import torch
from probe_server import Stack
from talk_tools import Counter
from training_run import ROOT
from transformers import AutoModelForCausalLM
from tree_jobs import nothing_runs
from verl.experimental.agent_loop.tool_parser import FunctionCall, ToolParser
from verl.tools.base_tool import BaseTool
from verl.tools.function_tool import FunctionTool
from verl.tools.tool_registry import load_all_tools
from verl_talks import TOKENIZER, talk, turns_of

from treepo.verl.rollout.agent_loop import TreeAgentLoop

STOPS = list(range(3, len(TOKENIZER), 4))
WIDTH, DEPTH = 4, 3
TOOLS = """
tools:
  - class_name: talk_tools.Counter
    config: {type: native}
    tool_schema:
      type: function
      function: {name: count, description: Counts its calls., parameters: {type: object, properties: {}}}
"""


class EveryTurnCalls(ToolParser):
    """Takes every turn for a call of the calculator, to add 5 to the number of its tokens, and one of the counter."""

    @property
    def stop_token_ids(self) -> list[int]:
        return STOPS

    async def extract_tool_calls(self, responses_ids: list[int], tools: Any = None) -> tuple[str, list[FunctionCall]]:
        expression = json.dumps({"expression": f"{len(responses_ids)} + 5"})
        return "", [FunctionCall(name="calculate", arguments=expression), FunctionCall(name="count", arguments="{}")]


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(ToolParser._registry, "every_turn_calls", EveryTurnCalls)
    return "every_turn_calls"


@pytest.fixture
def tools(tmp_path: Path) -> list[Any]:
    """As verl's worker loads them."""
    (tmp_path / "tools.yaml").write_text(TOOLS)
    found = load_all_tools(
        tool_config_path=str(tmp_path / "tools.yaml"),
        function_tool_path=str(ROOT / "recipe/calculator/tool.py"),
    )
    kinds = {tool.name: type(tool) for tool in found}
    assert (kinds["calculate"], issubclass(kinds["count"], BaseTool)) == (FunctionTool, True)
    return found


def test_verls_tools_answer_every_path_of_a_tree(stack: Stack, parser: str, tools: list[Any]) -> None:
    outputs = talk(
        TreeAgentLoop,
        stack.client,
        stack.model,
        f"actor_rollout_ref.rollout.multi_turn.format={parser}",
        "actor_rollout_ref.rollout.multi_turn.max_parallel_calls=2",
        f"treepo.width={WIDTH}",
        f"treepo.max_depth={DEPTH}",
        "treepo.initial_divergence=[1,1]",
        tools=tools,
        treepo_asked_agent="tool_agent",
        uid="tools",
    )
    assert len(outputs) == WIDTH
    network = AutoModelForCausalLM.from_pretrained(stack.model)
    for output in outputs:
        turns = list(turns_of(output.response_ids, output.response_mask))
        assert [said[-1] in {*STOPS, stack.eos} for said, _ in turns] == [True] * DEPTH
        for number, (said, read) in enumerate(turns[:-1], start=1):
            # The count is that of this path's own calls.
            assert read.endswith(
                f"<|im_start|>tool\n{len(said) + 5}<|im_end|>\n<|im_start|>tool\ncall {number}<|im_end|>\n"
                "<|im_start|>assistant\n"
            )
        assert turns[-1][1] == ""
        assert output.extra_fields["count"] == DEPTH - 1
        assert output.extra_fields["turn_rewards"] == [0.5] * (DEPTH - 1) + [None]
        # The server wrote every turn behind the observations before it.
        whole = torch.tensor([[*output.prompt_ids, *output.response_ids]])
        with torch.inference_mode():
            scores = network(whole).logits[0, len(output.prompt_ids) - 1 : -1].log_softmax(-1)
        expected = scores.gather(1, torch.tensor(output.response_ids)[:, None])[:, 0]
        expected *= torch.tensor(output.response_mask)
        torch.testing.assert_close(torch.tensor(output.response_logprobs), expected, atol=1e-3, rtol=0)
    # One, two and four turns; those of the first two levels are answered, once for all paths through them.
    levels = list(accumulate([2] * (DEPTH - 1), lambda paths, children: paths * children, initial=1))
    stats = outputs[0].extra_fields["treepo"]["turn_stats"]
    assert (stats["calls"], stats["steps"], stats["failed"]) == (sum(levels), sum(levels[:-1]), 0)
    assert Counter.open == 0
    asyncio.run(nothing_runs(stack))
