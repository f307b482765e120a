"""Turns on a real vLLM server: a user's environment in an evaluation.

The server's model is a random one, which seldom ends a turn. So every fourth token ends a turn, as stop tokens of a
parser would.
"""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from probe_server import Stack
from talk_environment import letters
from tree_jobs import nothing_runs
from verl_talks import QUESTION, TOKENIZER

from treepo.config import load_config
from treepo.evaluation.ask.benchmarks import Question
from treepo.evaluation.ask.prompt_templates import PromptTemplate
from treepo.evaluation.ask.prompts import Prompt
from treepo.tree import Tree
from treepo.verl.serving.talks import EvaluationTalks

STOPS = list(range(3, len(TOKENIZER), 4))
WIDTH, DEPTH = 4, 3


def turns_of(tokens: list[int], mask: list[int]) -> Iterator[tuple[list[int], str]]:
    """What the model wrote in each turn, and what it read behind it; nothing behind the last."""
    said: list[int] = []
    read: list[int] = []
    for token, written in zip(tokens, mask, strict=True):
        if written and read:
            yield said, TOKENIZER.decode(read)
            said, read = [], []
        (said if written else read).append(token)
    yield said, TOKENIZER.decode(read)


@pytest.mark.parametrize("width", [1, WIDTH])
def test_an_evaluation_talks_with_an_environment_on_a_real_server(stack: Stack, width: int) -> None:
    talks = EvaluationTalks(
        stack.client,
        tokenizer=TOKENIZER,
        model_type="qwen2",
        put=PromptTemplate(name="ours"),
        multi_turn=SimpleNamespace(
            max_assistant_turns=None,
            max_user_turns=None,
            max_tool_response_length=256,
            tool_response_truncate_side="middle",
        ),
        sampling_params={"temperature": 1.0, "logprobs": True, "stop_token_ids": STOPS},
        longest=300,
        seeded=True,
        eos_token_ids=frozenset({*STOPS, stack.eos}),
        replicas=1,
    )
    options = load_config(
        {
            "width": WIDTH,
            "initial_divergence": (1, 1),
            "segment_length": 100,
            "max_depth": DEPTH,
            "environment": {"name": "talk_environment:LetterCount"},
            "termination": {"repetition": {"enabled": False}},
        }
    )
    question = Question(
        benchmark="sums",
        id=str(width),
        data_source="tests",
        messages=tuple(QUESTION),
        truths=("12",),
        ground_truth="12",
    )
    tokens = TOKENIZER.apply_chat_template(QUESTION, add_generation_prompt=True, tokenize=True, return_dict=False)
    tree: Tree = asyncio.run(
        talks.grow(Prompt(question=question, tokens=tuple(tokens), text=""), options=options, width=width)
    )
    assert len(tree.trajectories) == width
    answered = 0
    for trajectory in tree.trajectories:
        count = 0
        for said, read in turns_of(trajectory.tokens, trajectory.response_mask):
            count += letters(TOKENIZER.decode(said, skip_special_tokens=True))
            if read:
                answered += 1
                assert f"user\n{count} letters<|im_end|>\n<|im_start|>assistant\n" in read
    assert answered > 0
    asyncio.run(nothing_runs(stack))
