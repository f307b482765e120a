"""A user's environment in verl's agent loop: its words become tokens in verl's way, and the reward is told of turns."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_stack import write_tiny_model
from turn_scenes import Adder, World
from verl.experimental.agent_loop import AgentLoopOutput
from verl_talks import QUESTION, TOKENIZER, row, talk

from treepo.verl.rollout.agent_loop import TreeAgentLoop, TreeAgentLoopWorker
from treepo.verl.rollout.turns import most_turns, turns_for_reward

ADDER = "treepo.environment.name=turn_scenes:Adder"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("own_environment") / "model")


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(Adder, "world", world)
    return world


def letters(last: str, number: int) -> str:
    return "abcdefghijklmnop"[number % 16]


def grow(model: Path, *options: str, **fields: Any) -> Any:
    return talk(TreeAgentLoop, letters, model, ADDER, "treepo.max_depth=3", *options, **fields)


@pytest.mark.parametrize("fork", ["fork", "replay", "none"])
def test_every_trajectory_is_the_whole_talk_as_the_chat_template_writes_it(
    model: Path, world: World, fork: str
) -> None:
    outputs = grow(model, f"treepo.environment.fork={fork}", "treepo.initial_divergence=[1,1]")
    assert len(outputs) == 4
    for output in outputs:
        written, observed = [], []
        for token, flag, log_prob in zip(
            output.response_ids, output.response_mask, output.response_logprobs, strict=True
        ):
            (written if flag else observed).append(token)
            assert log_prob == (-float(token) if flag else 0.0)
        said = TOKENIZER.decode(written).split("<|im_end|>")[:-1]
        assert len(said) == 3
        totals = [sum(map(ord, "".join(said[:count]))) for count in (1, 2)]
        messages = list(QUESTION)
        for text, total in zip(said, [*totals, None], strict=True):
            messages.append({"role": "assistant", "content": text})
            if total is not None:
                messages.append({"role": "user", "content": str(total)})
        # The template ends every turn with a newline, which nothing follows at the end.
        whole = TOKENIZER.apply_chat_template(messages, tokenize=False).removesuffix("\n")
        assert TOKENIZER.decode(output.prompt_ids + output.response_ids) == whole
        assert output.num_turns == 6
        assert output.extra_fields["turn_rewards"] == [1.0, 2.0, None]
        assert output.extra_fields["treepo"]["reason"] == "max_depth"
    stats = outputs[0].extra_fields["treepo"]["turn_stats"]
    assert stats["calls"] == (12 if fork == "none" else 7)
    assert stats["steps"] == (8 if fork == "none" else 3)
    assert stats["replays"] == (1 if fork == "replay" else 0)
    assert world.live == 0
    assert {row["uid"] for row in world.rows} == {"u"}


def test_a_validation_is_one_talk_and_one_output(model: Path, world: World) -> None:
    output = grow(model, "treepo.min_trajectory_length=40", treepo_validates=True, session_id=3)
    assert isinstance(output, AgentLoopOutput)
    assert output.response_mask.count(0)
    assert output.extra_fields["treepo"]["turn_stats"]["calls"] == 3
    assert world.live == 0


def test_a_rows_own_width_is_the_trees(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from treepo.verl.rollout import agent_loop

    monkeypatch.setitem(agent_loop._own_widths, "u", 2)
    assert len(grow(model)) == len(grow(model, "treepo.environment.fork=none")) == 2


@pytest.mark.parametrize(
    ("assistant", "user", "most"), [(None, None, None), (0, 0, None), (3, None, 3), (None, 1, 2), (3, 1, 2), (2, 4, 2)]
)
def test_verls_limits_of_turns_are_one(assistant: int | None, user: int | None, most: int | None) -> None:
    assert most_turns(SimpleNamespace(max_assistant_turns=assistant, max_user_turns=user)) == most


def output(text: str, mask: list[int], **extra: Any) -> Any:
    return SimpleNamespace(response_ids=[ord(letter) for letter in text], response_mask=mask, extra_fields=extra)


@pytest.mark.parametrize(
    ("text", "mask", "final", "turns"),
    [
        ("one", [1, 1, 1], "one", 1),
        ("ab#c", [1, 1, 0, 1], "c", 2),
        ("a##b#cd", [1, 0, 0, 1, 0, 1, 1], "cd", 3),
    ],
)
def test_the_reward_is_told_the_last_turn(text: str, mask: list[int], final: str, turns: int) -> None:
    def decode(tokens: Any) -> str:
        return "".join(map(chr, tokens))

    told = turns_for_reward(output(text, mask), decode)
    assert told == {"final_turn": final, "turns": turns, "turn_rewards": [None] * turns}
    rewards = [1.0, *[None] * (turns - 1)]
    assert turns_for_reward(output(text, mask, turn_rewards=rewards), decode)["turn_rewards"] == rewards


class Scored(TreeAgentLoopWorker.__mro__[1]):
    """verl's worker as far as scoring goes."""

    def __init__(self) -> None:
        self.tokenizer = SimpleNamespace(decode=lambda tokens, **_: "".join(map(chr, tokens)))
        self.told: list[Any] = []

    async def _compute_score(self, outputs: Any, kwargs: dict) -> None:
        self.told.append(kwargs["extra_info"])


class Worker(TreeAgentLoopWorker, Scored):
    def __init__(self, *, own_environment: bool) -> None:
        Scored.__init__(self)
        self._own_environment = own_environment


@pytest.mark.parametrize(
    ("asked", "own", "told"),
    [
        ("single_turn_agent", False, False),
        ("single_turn_agent", True, True),
        ("tool_agent", False, True),
    ],
)
def test_a_reward_function_is_told_of_turns_where_there_may_be_any(asked: str, own: bool, told: bool) -> None:
    worker: Any = Worker(own_environment=own)
    given = row(treepo_asked_agent=asked, extra_info={"index": 3})
    asyncio.run(worker._compute_score([output("ab#c", [1, 1, 0, 1])], kwargs=given))
    expected = {"final_turn": "c", "turns": 2, "turn_rewards": [None, None]} if told else {}
    assert worker.told == [{"index": 3, **expected}]
    # The row that is written is the dataset's own.
    assert given["extra_info"] == {"index": 3}
