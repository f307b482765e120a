"""verl's tools along the paths of a tree: alone a path is what verl's own loop makes of it, and a failure stays one."""

from pathlib import Path
from typing import Any

import pytest
from talk_tools import Counter
from tiny_stack import write_tiny_model
from verl.experimental.agent_loop.tool_agent_loop import ToolAgentLoop
from verl_talks import TOKENIZER, Script, call, talk, tools

from treepo.rollout import RolloutError
from treepo.verl.rollout.agent_loop import TreeAgentLoop


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("tool_talk") / "model")


def adds(last: str, _: int) -> str:
    """Asks once, and answers with what it was told."""
    return f"It is {last.partition(chr(10))[2]}." if last.startswith("tool") else f"So {call('add', left=7, right=5)}"


def always(words: str) -> Script:
    return lambda last, _: words


def grow(model: Path, script: Script, *names: str, options: tuple[str, ...] = (), **fields: Any) -> Any:
    return talk(TreeAgentLoop, script, model, *options, tools=tools(*names), treepo_asked_agent="tool_agent", **fields)


@pytest.mark.parametrize(
    ("script", "names", "options"),
    [
        (adds, ["add"], []),
        (always("Nothing to do."), ["add"], []),
        (always(call("add", left=1, right=2) + call("count")), ["add", "count"], ["max_parallel_calls=2"]),
        (always(call("count")), ["count"], ["max_assistant_turns=2"]),
        (always(call("count")), ["count"], ["max_user_turns=1"]),
        (always(call("absent")), ["add"], ["max_assistant_turns=3"]),
        (always(call("add", left=1)), ["add"], ["max_assistant_turns=3"]),
        # Without a limit the talk ends where there is no room.
        (always(call("count")), ["count"], []),
    ],
)
def test_a_path_alone_has_the_tokens_and_the_mask_of_verls_own_loop(
    model: Path, script: Script, names: list[str], options: list[str]
) -> None:
    words = tuple(f"actor_rollout_ref.rollout.multi_turn.{option}" for option in options)
    # As many windows as the talk has turns, so that verl's limits alone end it.
    ours = grow(model, script, *names, treepo_validates=True, options=(*words, "treepo.max_depth=40"))
    theirs = talk(ToolAgentLoop, script, model, *words, tools=tools(*names))
    assert ours.prompt_ids == theirs.prompt_ids
    assert ours.extra_fields["tool_rewards"] == theirs.extra_fields["tool_rewards"]
    assert ours.extra_fields.get("count") == theirs.extra_fields.get("count")
    assert ours.response_ids == theirs.response_ids
    assert ours.response_mask == theirs.response_mask
    assert ours.num_turns == theirs.num_turns
    mine = [log_prob for log_prob, flag in zip(ours.response_logprobs, ours.response_mask, strict=True) if flag]
    assert mine == [-token for token, flag in zip(ours.response_ids, ours.response_mask, strict=True) if flag]


def test_every_path_of_a_tree_has_a_conversation_of_its_own(model: Path) -> None:
    def script(last: str, number: int) -> str:
        return f"{'abcdefgh'[number % 8]} {call('count')}"

    outputs = grow(model, script, "count", options=("treepo.initial_divergence=[1,1]", "treepo.max_depth=3"))
    assert len(outputs) == 4
    for output in outputs:
        text = TOKENIZER.decode(output.response_ids)
        assert [text.count(f"call {number}") for number in (1, 2, 3)] == [1, 1, 0]
        assert output.extra_fields["count"] == 2
        assert output.extra_fields["turn_rewards"] == [0.5, 0.5, None]
        assert sum(output.extra_fields["treepo"]["observed"]) == output.response_mask.count(0)
        assert output.response_mask[-1] == 1
    first = outputs[0].extra_fields["treepo"]["turn_stats"]
    # One turn, then two, then four; the first two levels are answered.
    assert (first["steps"], first["calls"], first["failed"]) == (3, 7, 0)
    assert {output.extra_fields["treepo"]["turn_stats"] is None for output in outputs[1:]} == {True}
    assert Counter.open == 0


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("fail", {"words": 2}, "Error executing tool 'fail': the line is dead the line is dead"),
        ("hang", {"seconds": 0.5}, "Error executing tool 'hang': no answer within 0.05 s (treepo.environment.timeout)"),
    ],
)
def test_a_tool_that_fails_is_read_by_the_model_and_counted(
    model: Path, name: str, arguments: dict[str, Any], says: str
) -> None:
    limits = ("treepo.environment.timeout=0.05", "treepo.max_depth=2", "actor_rollout_ref.rollout.response_length=400")
    options = (*limits, "treepo.initial_divergence=[1,1]", "treepo.max_divergence=4", "treepo.segment_length=200")
    outputs = grow(model, always(call(name, **arguments)), name, options=options)
    assert all(says in TOKENIZER.decode(output.response_ids) for output in outputs)
    counts = outputs[0].extra_fields["treepo"]["turn_stats"]
    assert (counts["failed"], counts["timed_out"]) == (1, int(name == "hang"))


def test_megabytes_of_an_error_are_cut_before_they_are_tokens(model: Path) -> None:
    (output, *_) = grow(
        model, always(call("fail", words=100_000)), "fail", options=("actor_rollout_ref.rollout.response_length=600",)
    )
    text = TOKENIZER.decode(output.response_ids)
    assert "...(truncated)..." in text
    assert "Error executing tool 'fail': the line is dead" in text


def test_a_failure_ends_the_path_or_the_tree_where_that_is_asked_for(model: Path) -> None:
    script = always(call("fail", words=1))
    outputs = grow(model, script, "fail", options=("treepo.environment.on_error=end",))
    assert {output.extra_fields["treepo"]["reason"] for output in outputs} == {"failed"}
    with pytest.raises(RolloutError, match=r"turn 1: a tool failed: fail: OSError: the line is dead"):
        grow(model, script, "fail", options=("treepo.environment.on_error=fail",))


def test_a_tree_that_fails_releases_the_tools_whose_calls_still_run(model: Path) -> None:
    Counter.most_open = 0
    options = ("treepo.environment.on_error=fail", "treepo.initial_divergence=[2,2]")
    with pytest.raises(RolloutError, match=r"a tool failed: fail"):
        grow(
            model,
            lambda last, number: call("wait") if number == 1 else call("fail", words=1),
            "wait",
            "fail",
            options=options,
        )
    assert (Counter.most_open, Counter.open) == (1, 0)


def test_a_picture_fails_the_tree_in_one_line(model: Path) -> None:
    with pytest.raises(RolloutError, match=r"tool draw answered with a picture or a film: trees of turns read text"):
        grow(model, always(call("draw")), "draw")


def test_calls_that_run_at_once_keep_to_the_limit(model: Path) -> None:
    Counter.most_open = 0
    options = ("treepo.environment.max_open=1", "treepo.initial_divergence=[4,4]", "treepo.max_depth=3")
    outputs = grow(model, always(call("count")), "count", options=options)
    assert Counter.most_open == 1
    assert outputs[0].extra_fields["treepo"]["turn_stats"]["steps"] == 8


def test_no_step_is_made_beyond_the_most(model: Path) -> None:
    outputs = grow(model, always(call("count")), "count", options=("treepo.environment.max_steps=2",))
    assert outputs[0].extra_fields["treepo"]["turn_stats"]["steps"] == 2
    assert "max_turns" in {output.extra_fields["treepo"]["reason"] for output in outputs}
