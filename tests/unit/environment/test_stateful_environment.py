"""A stateful environment under forks, cuts and faults: an observation is what the path's own turns lead to."""

import asyncio
import random
from typing import Any

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from turn_scenes import Adder, Scene, Stage, TalkingEngine, World, conversation, turn_options

from treepo.tree import FinishReason, SegmentRequest

ERROR = ("Error: OSError: the line is dead", "Error: no answer within 1 s (treepo.environment.timeout)")


def chatter(stop: float) -> Any:
    """A model that says letters and ends its turn by chance."""

    def script(request: SegmentRequest) -> str:
        draw = random.Random(request.seed)
        text = ""
        while len(text) < request.max_tokens and not text.endswith("$"):
            text += "$" if draw.random() < stop else chr(draw.randint(97, 105))
        return text

    return script


@st.composite
def scenes(draw: st.DrawFn) -> dict[str, Any]:
    cut = draw(st.sampled_from(["random", "lowest_logprob", "block", "from_start", "none"]))
    fallback: dict[str, Any] = {"cut": cut}
    if cut == "random":
        fallback["max_back"] = draw(st.none() | st.integers(1, 3))
    return {
        "seed": draw(st.integers(0, 10_000)),
        "width": draw(st.integers(2, 8)),
        "segment_length": draw(st.sampled_from([2, 5, 64])),
        "max_depth": draw(st.integers(1, 9)),
        "initial_divergence": (1, draw(st.integers(1, 2))),
        "divergence": {"allocation": draw(st.sampled_from(["even", "logprob"])), "transfer": draw(st.booleans())},
        "fallback": fallback,
        "environment": {
            "name": "turn_scenes:Adder",
            "fork": draw(st.sampled_from(["fork", "replay", "none"])),
            "on_error": draw(st.sampled_from(["observation", "end"])),
            "timeout": 60.0,
            "max_steps": draw(st.none() | st.integers(1, 20)),
            "max_open": draw(st.none() | st.integers(1, 4)),
        },
    }


async def check(
    options: dict[str, Any], *, stop: float, world: World, max_turns: int | None, room: int, run_ahead: bool
) -> Scene:
    make: Any = type("WatchedAdder", (Adder,), {"world": world})
    engine = TalkingEngine(chatter(stop))
    config = turn_options(**options)
    stage = Stage(make, config, engine=engine, max_turns=max_turns, max_response_length=room, run_ahead=run_ahead)
    scene = await stage.grow()
    assert world.live == scene.limit.open == 0, "nothing stays open"
    assert not engine.running
    if config.environment.max_open is not None:
        assert world.most_live <= scene.limit.most_open <= config.environment.max_open
    if config.environment.max_steps is not None:
        assert scene.branches.counts.steps <= config.environment.max_steps
    assert len(scene.tree.trajectories) <= config.width
    if config.fallback.cut != "none" or config.environment.fork == "none":
        assert len(scene.tree.trajectories) == config.width
    observed: dict[int, int] = {}
    for index, trajectory in enumerate(scene.tree.trajectories):
        total, turns = 0, conversation(scene, index)
        for said, read in turns[:-1]:
            assert said.endswith("$"), "an observation follows the end of a turn"
            assert said.count("$") == 1
            if read.removesuffix(">") in ERROR:
                continue
            total += sum(map(ord, said.removesuffix("$")))
            assert read == f"{total}>", "the environment answered this path's own turns"
        assert not trajectory.nodes[-1].observed, "the reward lies on a token of the model"
        assert trajectory.length <= room
        assert len(trajectory.nodes) <= config.max_depth
        assert max_turns is None or len(turns) <= max_turns
        for node in trajectory.nodes:
            observed[node.id] = node.observed
            assert all(value == 0.0 for value in node.log_probs[node.written :])
            assert all(value < 0.0 for value in node.log_probs[: node.written])
        assert trajectory.response_mask == [int(value < 0.0) for value in trajectory.log_probs]
    assert sum(observed.values()) <= scene.turns.observed_tokens
    if config.environment.fork == "none":
        assert scene.tree.stats.forks == 0
    return scene


@settings(max_examples=examples(40), deadline=None)
@given(
    options=scenes(),
    stop=st.sampled_from([0.1, 0.4, 1.0]),
    raising=st.sampled_from([0.0, 0.2]),
    max_turns=st.none() | st.integers(1, 5),
    room=st.sampled_from([20, 60, 400]),
    run_ahead=st.booleans(),
)
def test_every_observation_is_what_the_paths_own_turns_lead_to(
    options: dict[str, Any], stop: float, raising: float, max_turns: int | None, room: int, run_ahead: bool
) -> None:
    world = World(raising=raising, draws=random.Random(options["seed"]))
    asyncio.run(check(options, stop=stop, world=world, max_turns=max_turns, room=room, run_ahead=run_ahead))


@settings(max_examples=examples(8), deadline=None)
@given(options=scenes())
def test_it_is_where_steps_hang(options: dict[str, Any]) -> None:
    world = World(raising=0.1, hanging=0.05, draws=random.Random(options["seed"]))
    options["environment"]["timeout"] = 1.0
    asyncio.run(check(options, stop=0.4, world=world, max_turns=None, room=400, run_ahead=True))


@settings(max_examples=examples(20), deadline=None)
@given(options=scenes(), stop=st.sampled_from([0.1, 0.4, 1.0]))
def test_running_ahead_changes_no_tree(options: dict[str, Any], stop: float) -> None:
    # Which paths get the last steps follows the order in which they come.
    options["environment"]["max_steps"] = None
    trees = []
    for run_ahead in (False, True):
        scene = asyncio.run(check(options, stop=stop, world=World(), max_turns=None, room=60, run_ahead=run_ahead))
        trees.append([(t.path.node_ids, t.tokens, t.reason, t.from_fallback) for t in scene.tree.trajectories])
    assert trees[0] == trees[1]


@pytest.mark.parametrize("fork", ["fork", "replay"])
async def test_limited_and_unlimited_environments_grow_the_same_tree(fork: str) -> None:
    trees = []
    for most in (None, 1):
        options = {"environment": {"name": "turn_scenes:Adder", "fork": fork, "max_open": most}}
        scene = await check(options, stop=0.3, world=World(), max_turns=None, room=400, run_ahead=True)
        trees.append([trajectory.tokens for trajectory in scene.tree.trajectories])
        assert scene.tree.stats.forks > 0
    assert trees[0] == trees[1]


async def test_an_environment_that_ends_the_talk_ends_the_path_and_its_reward_is_kept() -> None:
    options = {"environment": {"name": "turn_scenes:Adder", "fork": "replay"}, "max_depth": 9}
    scene = await check(options, stop=0.3, world=World(finished_at=900), max_turns=None, room=400, run_ahead=True)
    done = [t for t in scene.tree.trajectories if t.reason is FinishReason.DONE]
    assert done
    for trajectory in done:
        behind = scene.turns.behind(trajectory.nodes)
        assert behind.state.branch.rewards == (*(float(n) for n in range(1, behind.turns)), 1.0)
