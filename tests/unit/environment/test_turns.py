"""Trees of turns: where they end, where they fork and are cut, and what they cost."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from turn_scenes import Adder, Scene, Stage, TalkingEngine, World, conversation, never_ends, turn_options

from treepo.environment import Observation, Turn
from treepo.rollout import Chunk, InEngine
from treepo.tree import FinishReason, SegmentRequest

NAME = "turn_scenes:Adder"


def adder(**methods: Any) -> Any:
    return type("Mine", (Adder,), {"world": World(), **methods})


def grow(make: Any = None, *, script: Any = never_ends, limits: Any = None, **options: Any) -> Scene:
    options.setdefault("environment", {})
    config = turn_options(**{**options, "environment": {"name": NAME, **options["environment"]}})
    return asyncio.run(Stage(make or adder(), config, engine=TalkingEngine(script), **(limits or {})).grow())


def reasons(scene: Scene) -> set[FinishReason]:
    return {trajectory.reason for trajectory in scene.tree.trajectories}


CALLS = {(4, 2): 15, (4, 3): 20, (5, 2): 23, (5, 3): 28, (6, 2): 31, (6, 3): 36}


@pytest.mark.parametrize(("depth", "divergence"), CALLS)
@pytest.mark.parametrize("fork", ["fork", "replay"])
def test_inference_calls_of_a_full_tree_of_eight_are_those_of_the_published_table(
    depth: int, divergence: int, fork: str
) -> None:
    scene = grow(max_depth=depth, max_divergence=divergence, environment={"fork": fork})
    assert scene.turns.calls == scene.tree.stats.segments == CALLS[depth, divergence]
    assert len(scene.tree.trajectories) == 8
    turns = sum(len(conversation(scene, index)) - 1 for index in range(8))
    assert scene.branches.counts.steps < turns == 8 * (depth - 1)


@pytest.mark.parametrize(("depth", "calls"), [(4, 32), (5, 40), (6, 48)])
def test_independent_talks_call_once_per_turn_and_never_fork(depth: int, calls: int) -> None:
    scene = grow(max_depth=depth, max_divergence=3, environment={"fork": "none"})
    assert scene.turns.calls == calls
    assert scene.branches.counts.steps == 8 * (depth - 1)
    assert scene.tree.stats.forks == scene.branches.counts.replays == 0


def test_a_step_is_made_once_per_node_and_shared_by_its_children() -> None:
    scene = grow(max_depth=3, width=4, environment={"fork": "fork"})
    # One node at depth 1, two at depth 2; the four leaves are the last allowed windows and take no step.
    assert scene.branches.counts.steps == 3
    first = {conversation(scene, index)[0] for index in range(4)}
    assert len(first) == 1


def test_the_last_window_makes_no_step_and_is_told_before() -> None:
    told: list[tuple[int, bool]] = []

    async def step(self: Any, turn: Turn) -> Observation:
        told.append((turn.number, turn.last))
        return await Adder.step(self, turn)

    scene = grow(adder(step=step), max_depth=3, width=2, max_divergence=1)
    assert set(told) == {(1, False), (2, True)}
    assert reasons(scene) == {FinishReason.MAX_DEPTH}


def test_the_last_turn_makes_no_step_and_is_told_before() -> None:
    told: list[tuple[int, bool]] = []

    async def step(self: Any, turn: Turn) -> Observation:
        told.append((turn.number, turn.last))
        return await Adder.step(self, turn)

    scene = grow(adder(step=step), max_depth=9, width=2, max_divergence=1, limits={"max_turns": 2})
    assert set(told) == {(1, True)}
    assert reasons(scene) == {FinishReason.MAX_TURNS}


def test_check_finished_ends_the_talk_without_a_step_even_in_the_last_window() -> None:
    scene = grow(adder(check_finished=lambda self, turn: True), max_depth=1)
    assert reasons(scene) == {FinishReason.DONE}
    assert scene.branches.counts.steps == 0


def test_a_box_ends_the_path_under_boxed_without_a_step() -> None:
    scene = grow(script=lambda _: "\\boxed{5}$", termination={"answer": "boxed", "repetition": {"enabled": False}})
    assert reasons(scene) == {FinishReason.ANSWERED}
    assert scene.branches.counts.steps == 0


def test_a_box_that_the_environment_prints_answers_nothing() -> None:
    async def step(self: Any, turn: Turn) -> Observation:
        return Observation(messages=({"role": "user", "content": "\\boxed{5}" * 3},))

    rules = {"answer": "boxed", "repetition": {"substring": 8, "count": 3}}
    scene = grow(adder(step=step), max_depth=2, termination=rules)
    assert reasons(scene) == {FinishReason.MAX_DEPTH}


def test_text_that_repeats_itself_ends_the_path_without_an_observation() -> None:
    scene = grow(script=lambda _: "abababab$", termination={"repetition": {"substring": 2, "count": 4}})
    assert reasons(scene) == {FinishReason.REPETITION}
    assert scene.branches.counts.steps == scene.turns.observed_tokens == 0


def test_without_room_for_the_observation_and_a_token_more_it_is_left_out() -> None:
    # "x$" and "120>" leave one token more at 7 and none at 6.
    wide = grow(script=lambda _: "x$", width=2, limits={"max_response_length": 7})
    assert {tuple(conversation(wide, index)) for index in (0, 1)} == {(("x$", "120>"), ("x", ""))}
    narrow = grow(script=lambda _: "x$", width=2, limits={"max_response_length": 6})
    assert {tuple(conversation(narrow, index)) for index in (0, 1)} == {(("x$", ""),)}
    assert reasons(wide) == reasons(narrow) == {FinishReason.MAX_TOKENS}


def test_a_token_that_the_chat_template_takes_away_is_taken_from_the_turn() -> None:
    scene = grow(script=lambda _: "ab$", width=2, max_depth=2, limits={"replaced": 1})
    trajectory = scene.tree.trajectories[0]
    first = trajectory.nodes[0]
    assert ("".join(map(chr, first.tokens)), first.observed) == ("ab$195>", 5)
    assert trajectory.response_mask == [1, 1, 0, 0, 0, 0, 0, 1, 1, 1]


def test_where_nothing_of_the_segment_would_be_left_the_path_fails() -> None:
    scene = grow(script=lambda _: "ab$", width=2, segment_length=2, max_depth=4, limits={"replaced": 1})
    assert reasons(scene) == {FinishReason.FAILED}


def test_pieces_of_a_turn_keep_their_request_and_are_answered_whole() -> None:
    scene = grow(script=lambda _: "abcdefg$", segment_length=3, max_depth=9, initial_divergence=(8, 8))
    for index in range(8):
        assert {said for said, _ in conversation(scene, index)} == {"abcdefg$"}
    assert isinstance(scene.engine, TalkingEngine)
    assert scene.turns.calls == scene.engine.calls < scene.tree.stats.segments


def test_max_steps_ends_the_turns_behind_it() -> None:
    scene = grow(environment={"max_steps": 2})
    assert scene.branches.counts.steps == 2
    assert FinishReason.MAX_TURNS in reasons(scene)


def test_rows_reach_reset_and_rewards_the_state_behind_a_path() -> None:
    make = adder()
    scene = grow(make, max_depth=3, width=2)
    assert make.world.rows[0] == {"question": "p"}
    for trajectory in scene.tree.trajectories:
        behind = scene.turns.behind(trajectory.nodes)
        assert (behind.turns, behind.state.branch.rewards) == (3, (1.0, 2.0, None))


@pytest.mark.parametrize("cut", ["random", "lowest_logprob", "block", "from_start"])
def test_cuts_are_at_the_start_of_a_turn_and_split_no_node(cut: str) -> None:
    def script(request: SegmentRequest) -> str:
        return "abcdefgh$"

    def finished(self: Any, turn: Turn) -> bool:
        return turn.number == 4

    scene = grow(
        adder(check_finished=finished),
        script=script,
        segment_length=4,
        max_depth=20,
        max_divergence=1,
        width=6,
        fallback={"cut": cut},
    )
    assert scene.tree.stats.fallbacks > 0
    for index, trajectory in enumerate(scene.tree.trajectories):
        assert {node.written for node in trajectory.nodes} == {4, 1}
        assert [said for said, _ in conversation(scene, index)] == ["abcdefgh$"] * 4
    shared = {
        len(set(a.path.node_ids) & set(b.path.node_ids))
        for a in scene.tree.trajectories
        for b in scene.tree.trajectories
    }
    # A turn is three nodes.
    assert {count % 3 for count in shared} == {0}
    assert len(shared) > (1 if cut == "from_start" else 2) or cut in ("lowest_logprob", "from_start")


def test_max_back_counts_turns() -> None:
    def finished(self: Any, turn: Turn) -> bool:
        return turn.number == 4

    scene = grow(adder(check_finished=finished), max_depth=20, max_divergence=1, width=4, fallback={"max_back": 1})
    paths = [trajectory.path.node_ids for trajectory in scene.tree.trajectories]
    assert {tuple(path[:3]) for path in paths} == {tuple(paths[0][:3])}, (
        "one turn back from the end, so the fourth anew"
    )
    assert len({path[3] for path in paths}) == 4


def test_lowest_logprob_cuts_before_the_turn_with_the_least_probable_token() -> None:
    # The script's log-prob of a character is minus its code point.
    def script(request: SegmentRequest) -> str:
        return "z$" if len(request.nodes) == 1 else "a$"

    def finished(self: Any, turn: Turn) -> bool:
        return turn.number == 4

    scene = grow(
        adder(check_finished=finished),
        script=script,
        max_depth=20,
        max_divergence=1,
        width=2,
        fallback={"cut": "lowest_logprob"},
    )
    first, second = (trajectory.path.node_ids for trajectory in scene.tree.trajectories)
    assert first[:1] == second[:1]
    assert not set(first[1:]) & set(second[1:])


class StreamingTalk:
    """Streams turns token by token, as an engine that keeps requests running does."""

    def __init__(self) -> None:
        self.opened = 0
        self.running = 0

    async def decode(
        self, tokens: list[int], *, request_id: int, max_tokens: int, seed: int
    ) -> AsyncGenerator[Chunk, None]:
        self.opened += 1
        self.running += 1
        text = f"{chr(97 + seed % 26) * 5}$"[:max_tokens]
        try:
            for place, character in enumerate(text, start=1):
                await asyncio.sleep(0)
                yield Chunk(
                    tokens=[ord(character)],
                    log_probs=[-1.0],
                    last=place == len(text),
                    stopped=character == "$",
                    cached_tokens=0,
                    weight_version=0,
                )
        finally:
            self.running -= 1


def test_over_running_requests_a_turn_ends_its_request_and_its_pieces_do_not() -> None:
    streaming = StreamingTalk()
    config = turn_options(segment_length=2, max_depth=9, width=4, environment={"name": NAME})
    scene = asyncio.run(Stage(adder(), config, engine=InEngine(streaming)).grow())
    for index in range(4):
        assert len(
            {said for said, _ in conversation(scene, index)[:-1]} & {f"{c * 5}$" for c in map(chr, range(97, 123))}
        )
    assert streaming.opened == scene.turns.calls < scene.tree.stats.segments
    assert streaming.running == 0


async def test_a_slow_tool_holds_up_its_own_path_alone() -> None:
    """While one step of the first turn hangs, every other path is through; without running ahead none gets on."""
    reached = {}
    for run_ahead in (True, False):
        held, turns = asyncio.Event(), []

        async def step(self: Any, turn: Turn, held: asyncio.Event = held, turns: list[int] = turns) -> Observation:
            turns.append(turn.number)
            if len(turns) == 1:
                await held.wait()
            return await Adder.step(self, turn)

        config = turn_options(
            width=4, max_depth=4, initial_divergence=(4, 4), max_divergence=1, environment={"name": NAME}
        )
        stage = Stage(adder(step=step), config, engine=TalkingEngine(never_ends), run_ahead=run_ahead)
        growing = asyncio.create_task(stage.grow())
        while len(turns) < (10 if run_ahead else 4):
            await asyncio.sleep(0.001)
        for _ in range(100):
            await asyncio.sleep(0)
        reached[run_ahead] = sorted(turns)
        held.set()
        assert len((await growing).tree.trajectories) == 4
    assert reached[False] == [1, 1, 1, 1]
    assert reached[True] == [1, 1, 1, 1, 2, 2, 2, 3, 3, 3]
