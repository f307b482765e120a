"""New weights from a trainer to servers' workers over gloo: every byte arrives, and whatever fails ends all sides.

Each member is a process of its own, driven as verl's ``CheckpointEngineManager`` drives its workers.
"""

import asyncio
import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch
from verl.checkpoint_engine.base import CheckpointEngineRegistry

from treepo.verl.gloo_checkpoint_engine import GlooCheckpointEngine

BUCKET = 4096
Weights = list[tuple[str, torch.Tensor]]

pytestmark = pytest.mark.timeout(120)


def some_weights(seed: int) -> Weights:
    """Of several types and sizes: an odd number of bytes before a type of four, a scalar, larger than two buckets."""
    draw = torch.Generator().manual_seed(seed)
    return [
        ("norm", torch.randn(33, generator=draw).to(torch.bfloat16)),
        ("scale", torch.randn((), generator=draw)),
        ("flags", torch.randint(0, 2, (7,), generator=draw, dtype=torch.uint8)),
        ("head", torch.randn(51, 51, generator=draw, requires_grad=True)),
        ("exactly a bucket", torch.randn(BUCKET // 2, generator=draw).to(torch.bfloat16)),
        ("bias", torch.randn(5, generator=draw)),
    ]


def as_bytes(weights: Weights) -> list[tuple[str, str, list[int], bytes]]:
    return [
        (name, str(weight.dtype), list(weight.shape), weight.detach().reshape(-1).view(torch.uint8).numpy().tobytes())
        for name, weight in weights
    ]


def broken(weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    yield from weights[:4]
    raise ValueError("a shard is missing")


async def receive(engine: GlooCheckpointEngine, hurt: Callable[[], None] | None) -> Any:
    received = []
    async for name, weight in engine.receive_weights(global_steps=1):
        received += as_bytes([(name, weight)])
        if hurt is not None:
            hurt()
    return received


def fail() -> None:
    raise KeyError("the server is gone")


def die() -> None:
    os._exit(1)


def serve(connection: Connection, options: dict[str, Any], weights: Any, hurt: Callable[[], None] | None) -> None:
    """A worker: answers calls of its engine until it is killed."""
    engine = GlooCheckpointEngine(bucket_size=BUCKET, **options)
    while True:
        method, arguments = connection.recv()
        try:
            if method == "send":
                answer = asyncio.run(engine.send_weights(weights(), global_steps=1))
            elif method == "receive":
                answer = asyncio.run(receive(engine, hurt))
            else:
                answer = getattr(engine, method)(**arguments)
        except Exception as error:
            answer = error
        connection.send(answer)


class Member:
    """A process with an engine."""

    def __init__(self, weights: Any = None, hurt: Callable[[], None] | None = None, **options: Any) -> None:
        # Forked, since importing verl anew takes most of a minute's processor time on a small machine.
        context = multiprocessing.get_context("fork")
        self._connection, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, options, weights, hurt), daemon=True)
        self.process.start()
        other.close()

    def call(self, method: str, **arguments: Any) -> None:
        self._connection.send((method, arguments))

    def answer(self) -> Any:
        return self._connection.recv()


@pytest.fixture
def members() -> Iterator[list[Member]]:
    made: list[Member] = []
    yield made
    for member in made:
        member.process.kill()
        member.process.join()


def together(calls: list[tuple[Member, str, dict[str, Any]]]) -> list[Any]:
    for member, method, arguments in calls:
        member.call(method, **arguments)
    return [member.answer() for member, _, _ in calls]


def meet(trainer: list[Member], workers: list[Member], *, without: int = 0) -> list[Any]:
    metadata = together([(member, "prepare", {}) for member in [*trainer, *workers]])
    for member_kwargs in zip([*trainer, *workers], metadata, strict=True):
        assert not isinstance(member_kwargs[1], Exception)
    topology = GlooCheckpointEngine.build_topology(len(trainer), len(workers), metadata)
    calls = []
    for group, kwargs in zip((trainer, workers), topology, strict=True):
        assert {len(values) for values in kwargs.values()} == {len(group)}
        for place, member in enumerate(group):
            calls.append((member, "init_process_group", {name: values[place] for name, values in kwargs.items()}))
    return together(calls[: len(calls) - without])


def update(trainer: list[Member], workers: list[Member]) -> list[Any]:
    assert meet(trainer, workers) == [None] * (len(trainer) + len(workers))
    return together([*((one, "send", {}) for one in trainer), *((one, "receive", {}) for one in workers)])


def test_verl_knows_it_by_name() -> None:
    assert CheckpointEngineRegistry.get("gloo") is GlooCheckpointEngine


def test_every_byte_arrives_at_every_worker_and_again_after_servers_have_left(members: list[Member]) -> None:
    members += [Member(lambda: some_weights(0), is_master=True), Member(), Member()]
    trainer, first, second = members
    sent = as_bytes(some_weights(0))
    assert update([trainer], [first, second]) == [None, sent, sent]
    assert together([(member, "finalize", {}) for member in members]) == [None] * 3
    assert update([trainer], [second]) == [None, sent]


def test_the_trainers_other_ranks_take_every_weight_and_stay_out_of_the_group(members: list[Member]) -> None:
    # A rank that left a weight out would keep the others waiting for its shard.
    members += [
        Member(lambda: some_weights(0), is_master=True),
        Member(lambda: broken(some_weights(0))),
        Member(),
    ]
    trainer, other, worker = members
    sent, walked, received = update([trainer, other], [worker])
    assert sent is None
    assert received == as_bytes(some_weights(0))
    assert str(walked) == "a shard is missing"


def test_what_the_trainer_fails_on_is_told_to_every_worker(members: list[Member]) -> None:
    members += [Member(lambda: broken(some_weights(0)), is_master=True), Member(), Member()]
    sent, *received = update(members[:1], members[1:])
    assert repr(sent) == "ValueError('a shard is missing')"
    for error in received:
        assert str(error) == "the trainer could not send its weights: ValueError: a shard is missing"


def one_line(error: Any, start: str) -> None:
    assert isinstance(error, RuntimeError), error
    assert str(error).startswith(start)
    assert "\n" not in str(error)


@pytest.mark.parametrize("hurt", [fail, die])
def test_a_worker_that_fails_or_dies_ends_the_others_long_before_the_limit(
    members: list[Member], hurt: Callable[[], None]
) -> None:
    many = [(f"layer {n}", torch.zeros(BUCKET)) for n in range(64)]
    members += [Member(lambda: many, is_master=True), Member(hurt=hurt), Member()]
    trainer, hurt_one, other = members
    assert meet([trainer], [hurt_one, other]) == [None] * 3
    for member, method in ((trainer, "send"), (hurt_one, "receive"), (other, "receive")):
        member.call(method)
    if hurt is fail:
        assert repr(hurt_one.answer()) == "KeyError('the server is gone')"
    for member in (trainer, other):
        one_line(member.answer(), "the exchange of weights broke off (")


def test_who_does_not_come_ends_the_meeting_at_the_limit(members: list[Member]) -> None:
    members += [Member(is_master=True, timeout_s=1), Member(timeout_s=1), Member(timeout_s=1)]
    for rank, error in enumerate(meet(members[:1], members[1:], without=1)):
        one_line(error, "the trainer and the workers of its servers have not met at ")
        assert f"within 1 s (wait timeout after 1000ms, keys: /0/2; this was {rank} of 3, 0 is the trainer)" in str(
            error
        )


def test_who_stays_silent_ends_the_exchange_at_the_limit(members: list[Member]) -> None:
    members += [Member(lambda: some_weights(0), is_master=True, timeout_s=1), Member(timeout_s=1)]
    assert meet(members[:1], members[1:]) == [None, None]
    members[0].call("send")
    one_line(members[0].answer(), "the exchange of weights broke off (")
