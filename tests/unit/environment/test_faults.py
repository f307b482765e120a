"""What an environment may do wrong, row by row: each fault ends where the options say, and leaves nothing open."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from training_run import ROOT
from turn_scenes import Adder, Scene, Stage, TalkingEngine, World, conversation, never_ends, turn_options

from treepo.environment import Observation, Turn
from treepo.environment.conversation import cut_text
from treepo.rollout import RolloutError
from treepo.tree import FinishReason


def scene_of(make: Callable[[], Any], *, script: Any = never_ends, limits: Any = None, **environment: Any) -> Stage:
    options = {"width": 4, "max_depth": 3, "environment": {"name": "turn_scenes:Adder", **environment}}
    return Stage(make, turn_options(**options), engine=TalkingEngine(script), **(limits or {}))


class Watched(Adder):
    """Counts from a fresh world; subclasses go wrong."""

    world = World()


def fresh(kind: type[Adder]) -> Any:
    return type(kind.__name__, (kind,), {"world": World()})


def assert_nothing_open(scene: Stage | Scene, make: Any) -> None:
    assert make.world.live == scene.limit.open == 0


class SecondTurnRaises(Watched):
    async def step(self, turn: Turn) -> Observation:
        if turn.number == 2:
            raise OSError("the line\nis dead")
        return await super().step(turn)


class SecondTurnHangs(Watched):
    async def step(self, turn: Turn) -> Observation:
        if turn.number == 2:
            await asyncio.sleep(600)
        return await super().step(turn)


class SecondTurnHangsInAThread(Watched):
    def step(self, turn: Turn) -> Observation:  # pyright: ignore[reportIncompatibleMethodOverride]
        if turn.number == 2:
            time.sleep(2)
        return Observation(messages=({"role": "user", "content": "."},))


FAULTY = {
    SecondTurnRaises: "Error: OSError: the line is dead>",
    SecondTurnHangs: "Error: no answer within 0.5 s (treepo.environment.timeout)>",
    SecondTurnHangsInAThread: "Error: no answer within 0.5 s (treepo.environment.timeout)>",
}


@pytest.mark.parametrize("kind", FAULTY)
async def test_an_error_becomes_what_the_model_reads_and_the_talk_continues(kind: type[Adder]) -> None:
    make = fresh(kind)
    scene = await scene_of(make, fork="replay", on_error="observation", timeout=0.5).grow()
    assert {trajectory.reason for trajectory in scene.tree.trajectories} == {FinishReason.MAX_DEPTH}
    assert {conversation(scene, index)[1][1] for index in range(4)} == {FAULTY[kind]}
    assert scene.branches.counts.failed == 2
    assert scene.branches.counts.timed_out == (0 if kind is SecondTurnRaises else 2)
    assert_nothing_open(scene, make)


@pytest.mark.parametrize("kind", [SecondTurnRaises, SecondTurnHangs])
async def test_on_error_end_ends_the_path_as_failed_with_its_last_turn(kind: type[Adder]) -> None:
    make = fresh(kind)
    scene = await scene_of(make, fork="fork", on_error="end", timeout=0.5).grow()
    assert {trajectory.reason for trajectory in scene.tree.trajectories} == {FinishReason.FAILED}
    assert {len(conversation(scene, index)) for index in range(4)} == {2}
    assert_nothing_open(scene, make)


@pytest.mark.parametrize("kind", [SecondTurnRaises, SecondTurnHangs])
async def test_on_error_fail_fails_the_tree_and_names_prompt_and_turn(kind: type[Adder]) -> None:
    make = fresh(kind)
    stage = scene_of(make, on_error="fail", timeout=0.5)
    with pytest.raises(RolloutError, match=r"prompt p: .*turn 2: the environment failed: "):
        await stage.grow()
    assert_nothing_open(stage, make)


class BlocksTheLoop(Watched):
    async def step(self, turn: Turn) -> Observation:
        # It never waits, so that nothing can come in between.
        time.sleep(0.1)
        return Observation(messages=({"role": "user", "content": "."},))


async def test_an_async_step_that_blocks_cannot_be_limited_and_the_page_says_so() -> None:
    make = fresh(BlocksTheLoop)
    # One turn is answered, in ten times the limit.
    scene = await scene_of(make, fork="fork", timeout=0.01, limits={"max_turns": 2}, script=lambda _: "a$").grow()
    assert {conversation(scene, index)[0][1] for index in range(4)} == {".>"}
    assert scene.branches.counts.timed_out == 0
    page = (ROOT / "docs/multi_turn.md").read_text(encoding="utf-8")
    assert "`async` one on the event loop; one that blocks there cannot be limited" in page


class Forgetful(Watched):
    async def step(self, turn: Turn) -> Observation:
        return Observation(messages=({"role": "user", "content": str(self.world.draws.random())},))


async def test_a_replay_that_is_answered_otherwise_fails_its_path_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    make = fresh(Forgetful)
    with caplog.at_level(logging.WARNING, logger="treepo"):
        scene = await scene_of(make, fork="replay").grow()
    reasons = [trajectory.reason for trajectory in scene.tree.trajectories]
    assert reasons.count(FinishReason.FAILED) >= 1
    assert FinishReason.MAX_DEPTH in reasons, "the first to come has the live environment"
    assert "prompt p, turn 2: the environment could not be replayed: turn 1 was answered otherwise" in caplog.text
    assert_nothing_open(scene, make)


class NoTwin(Watched):
    async def fork(self) -> Adder:
        raise OSError("no memory")


class Itself(Watched):
    async def fork(self) -> Adder:
        return self


@pytest.mark.parametrize(("kind", "said"), [(NoTwin, "OSError: no memory"), (Itself, "must return another")])
async def test_a_fork_that_fails_fails_its_path_and_says_so(
    kind: type[Adder], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    make = fresh(kind)
    with caplog.at_level(logging.WARNING, logger="treepo"):
        scene = await scene_of(make, fork="fork").grow()
    assert {trajectory.reason for trajectory in scene.tree.trajectories} == {FinishReason.FAILED}
    assert "prompt p, turn 2: the environment could not be forked: " in caplog.text
    assert said in caplog.text
    assert_nothing_open(scene, make)


class NoStart(Watched):
    async def reset(self, row: Any) -> None:
        raise OSError("no such row")


async def test_a_reset_that_fails_fails_the_tree() -> None:
    make = fresh(NoStart)
    stage = scene_of(make)
    with pytest.raises(RolloutError, match=r"prompt p: .*could not be reset: OSError: no such row"):
        await stage.grow()
    assert_nothing_open(stage, make)


class Megabytes(Watched):
    async def step(self, turn: Turn) -> Observation:
        if turn.number == 2:
            raise OSError("x" * 2_000_000)
        return Observation(messages=({"role": "user", "content": "x" * 2_000_000},))


async def test_megabytes_are_cut_before_they_become_tokens_and_errors_too() -> None:
    make = fresh(Megabytes)
    scene = await scene_of(make, limits={"longest_message": 20, "max_response_length": 4000}).grow()
    first, second = (conversation(scene, 0)[turn][1] for turn in (0, 1))
    assert first == "x" * 10 + "...(truncated)..." + "x" * 10 + ">"
    assert second.startswith("Error: OSE...")
    assert len(second) == len(first)
    assert_nothing_open(scene, make)


@pytest.mark.parametrize(
    ("side", "cut"),
    [("left", "(truncated)...6789"), ("right", "0123...(truncated)"), ("middle", "01...(truncated)...89")],
)
def test_long_texts_are_cut_where_verl_cuts_them(side: str, cut: str) -> None:
    assert cut_text("0123456789", 4, side) == cut
    assert cut_text("0123", 4, side) == "0123"


class WrongAnswers(Watched):
    answers: tuple[Any, ...] = ()

    async def step(self, turn: Turn) -> Observation:
        return self.answers[turn.number - 1]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("a text", "step returned a str, not a treepo.environment.Observation"),
        (Observation(), "step returned neither a message nor finished=True"),
        (Observation(messages=({"role": "user"},)), "whose role or content is no text (NoneType)"),
        (Observation(messages=({"role": "tool", "content": [{"type": "image"}]},)), "content is no text (list)"),  # pyright: ignore[reportArgumentType]
    ],
)
async def test_an_answer_that_is_none_is_an_error_of_the_environment(answer: Any, said: str) -> None:
    make = fresh(WrongAnswers)
    make.answers = (answer, answer)
    scene = await scene_of(make).grow()
    assert said in conversation(scene, 0)[0][1]
    assert_nothing_open(scene, make)


class NoEnd(Watched):
    async def close(self) -> None:
        await super().close()
        raise OSError("still there")


async def test_a_close_that_fails_is_reported_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    make = fresh(NoEnd)
    with caplog.at_level(logging.WARNING, logger="treepo"):
        scene = await scene_of(make, fork="fork").grow()
    assert {trajectory.reason for trajectory in scene.tree.trajectories} == {FinishReason.MAX_DEPTH}
    assert scene.branches.counts.close_failed > 0
    assert "an environment could not be closed: OSError: still there" in caplog.text
    assert_nothing_open(scene, make)


class EndlessClose(Watched):
    async def close(self) -> None:
        await super().close()
        await asyncio.sleep(600)


async def test_a_close_that_hangs_is_not_waited_for() -> None:
    make = fresh(EndlessClose)
    scene = await asyncio.wait_for(scene_of(make, fork="fork", timeout=0.5).grow(), timeout=60)
    assert scene.branches.counts.close_failed > 0
    assert_nothing_open(scene, make)


@pytest.mark.parametrize("fork", ["fork", "replay", "none"])
async def test_a_cancelled_tree_closes_every_environment_and_request(fork: str) -> None:
    make = fresh(SecondTurnHangs)
    stage = scene_of(make, fork=fork)
    growing = asyncio.create_task(stage.grow())
    while stage.branches.counts.steps == 0 or make.world.live == 0:
        await asyncio.sleep(0.001)
    growing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await growing
    assert_nothing_open(stage, make)
    assert isinstance(stage.engine, TalkingEngine)
    assert not stage.engine.running


async def test_an_engine_that_fails_while_it_runs_ahead_fails_the_tree_and_closes_all() -> None:
    make = fresh(Watched)

    def script(request: Any) -> str:
        if request.nodes:
            raise RuntimeError("the server left")
        return never_ends(request)

    stage = scene_of(make, script=script)
    with pytest.raises(RolloutError, match=r"prompt p: .*the server left"):
        await stage.grow()
    assert_nothing_open(stage, make)


class Exits(Watched):
    def step(self, turn: Turn) -> Observation:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise SystemExit(3)


async def test_an_environment_that_exits_ends_its_turn_and_not_the_process() -> None:
    make = fresh(Exits)
    scene = await scene_of(make).grow()
    assert conversation(scene, 0)[0][1] == "Error: RuntimeError: SystemExit: 3>"
    assert_nothing_open(scene, make)


class SlowFork(Watched):
    """Forks in a thread, and too late."""

    def fork(self) -> Adder:  # pyright: ignore[reportIncompatibleMethodOverride]
        time.sleep(1)
        return type(self)()


async def test_a_fork_that_comes_too_late_is_closed_when_it_comes() -> None:
    make = fresh(SlowFork)
    scene = await scene_of(make, fork="fork", timeout=0.3).grow()
    assert {trajectory.reason for trajectory in scene.tree.trajectories} == {FinishReason.FAILED}
    assert scene.limit.open == 0
    while make.world.most_live < 2 or make.world.live:
        await asyncio.sleep(0.01)
