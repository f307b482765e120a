"""An evaluation's talks with an environment: alone and as trees, in the chat template's tokens, judged by the last.

With a scripted client, and on a real server. That one's model is a random one, which seldom ends a turn; so every
fourth token ends one, as stop tokens of a parser would.
"""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from probe_server import Stack
from talk_environment import letters
from tree_jobs import nothing_runs
from turn_scenes import Adder, World
from verl_talks import QUESTION, TOKENIZER, ScriptedClient, turns_of

from treepo.config import load_config
from treepo.evaluation.ask.benchmarks import Question
from treepo.evaluation.ask.generator import Generated
from treepo.evaluation.ask.prompt_templates import PromptTemplate
from treepo.evaluation.ask.prompts import Prompt
from treepo.evaluation.config import compose_evaluation, talk_options
from treepo.verl.serving.generation import ServerGenerator
from treepo.verl.serving.talks import EvaluationTalks

OPTIONS = {
    "segment_length": 50,
    "max_depth": 3,
    "environment": {"name": "turn_scenes:Adder", "fork": "fork"},
    "termination": {"repetition": {"enabled": False}},
}


STOPS = list(range(3, len(TOKENIZER), 4))
WIDTH, DEPTH = 4, 3


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(Adder, "world", world)
    return world


def talks_by(client: Any, *, eos: frozenset[int], **sampling_params: Any) -> EvaluationTalks:
    return EvaluationTalks(
        client,
        tokenizer=TOKENIZER,
        model_type="qwen2",
        put=PromptTemplate(name="ours"),
        multi_turn=SimpleNamespace(
            max_assistant_turns=None,
            max_user_turns=None,
            max_tool_response_length=256,
            tool_response_truncate_side="middle",
        ),
        sampling_params={"temperature": 1.0, **sampling_params},
        longest=300,
        seeded=True,
        eos_token_ids=eos,
        replicas=1,
    )


def generator(*, log_probs: bool = True) -> ServerGenerator:
    client: Any = ScriptedClient(lambda last, number: "abcdefghijklmnop"[number % 16])
    eos = frozenset({TOKENIZER.eos_token_id})
    talks = talks_by(client, eos=eos)
    options = SimpleNamespace(
        response_length=300, seeded_requests=True, log_probs=log_probs, temperature=1.0, top_p=1.0, top_k=-1
    )
    setup: Any = SimpleNamespace(options=options, talks=load_config(OPTIONS))
    return ServerGenerator(client, [], setup, eos_token_ids=eos, talks=talks)


def prompt() -> Prompt:
    question = Question(
        benchmark="sums", id="0", data_source="tests/sums", messages=tuple(QUESTION), truths=("12",), ground_truth="12"
    )
    tokens = TOKENIZER.apply_chat_template(QUESTION, add_generation_prompt=True, tokenize=True, return_dict=False)
    return Prompt(question=question, tokens=tuple(tokens), text="")


def checked(generated: Generated) -> None:
    for response in generated.responses:
        text = TOKENIZER.decode(response.tokens)
        first, second, last = (turn for turn in text.split("<|im_start|>assistant\n"))
        total = ord(first[0])
        assert first == f"{first[0]}<|im_end|>\n<|im_start|>user\n{total}<|im_end|>\n"
        assert second.endswith(f"<|im_start|>user\n{total + ord(second[0])}<|im_end|>\n")
        assert response.final_turn is not None
        assert TOKENIZER.decode(response.final_turn) == last
        assert response.log_probs is not None
        assert len(response.log_probs) == len(response.tokens)


def test_a_sample_is_a_talk_by_itself(world: World) -> None:
    generated = asyncio.run(generator().sample(prompt(), seed=5))
    (response,) = generated.responses
    checked(generated)
    assert response.path is None
    # Three turns of a letter and an end token.
    assert generated.tokens_generated == 6
    assert world.live == 0
    assert [row["reward_model"] for row in world.rows] == [{"ground_truth": "12"}]


def test_a_tree_talks_along_every_path(world: World) -> None:
    options = load_config({**OPTIONS, "width": 4, "initial_divergence": (1, 1)})
    generated = asyncio.run(generator().grow(prompt(), options=options))
    checked(generated)
    assert len(generated.responses) == 4
    assert all(response.path is not None for response in generated.responses)
    assert generated.tokens_generated == 2 * (1 + 2 + 4)
    assert world.live == 0


def test_the_option_is_the_trainings(tmp_path: Path) -> None:
    assert talk_options(compose_evaluation("quickstart", [])) is None
    composed = compose_evaluation("quickstart", ["treepo.environment.name=turn_scenes:Adder", "treepo.max_depth=7"])
    options = talk_options(composed)
    assert options is not None
    assert (options.environment.name, options.max_depth) == ("turn_scenes:Adder", 7)


@pytest.mark.parametrize("width", [1, WIDTH])
def test_an_evaluation_talks_with_an_environment_on_a_real_server(stack: Stack, width: int) -> None:
    eos = frozenset({*STOPS, stack.eos})
    talks = talks_by(stack.client, eos=eos, logprobs=True, stop_token_ids=STOPS)
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
    tree = asyncio.run(talks.grow(prompt(), options=options, width=width))
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
