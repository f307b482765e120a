"""Trees to grow on a probe server, and looking on while they do."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import torch
from probe_server import Stack

from treepo.config import load_config
from treepo.tree import Tree
from treepo.verl.rollout.tree_client import grow_on_server
from treepo.verl.rollout.tree_job import TreeJob

BLOCK = 32
PROMPT = list(range(40, 80))
OPTIONS: dict[str, Any] = {"width": 6, "segment_length": 32, "max_depth": 14, "max_divergence": 2}


def job(stack: Stack, name: str, *, ignore_eos: bool = False, temperature: float = 1.0, **options: Any) -> TreeJob:
    return TreeJob(
        tree_id=name,
        prompt_id=name,
        prompt_tokens=PROMPT,
        options=load_config(OPTIONS | options),
        sampling_params={
            "temperature": temperature,
            "top_p": 1.0,
            "top_k": -1,
            "logprobs": True,
            "ignore_eos": ignore_eos,
        },
        max_response_length=448,
        # The tiny model ends no long answer on its own where it may not.
        eos_token_ids=frozenset() if ignore_eos else frozenset({stack.eos}),
        width=None,
        training_progress=0.0,
        seeded=True,
        replicas=1,
    )


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 120.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)


async def nothing_runs(stack: Stack) -> None:
    async def quiet() -> bool:
        return not await stack.server.open_requests.remote()

    await until(quiet)
    assert await stack.server.growing.remote() == 0
    assert await stack.server.admitting.remote() == 0


async def started(stack: Stack, *jobs: TreeJob) -> list["asyncio.Task[Any]"]:
    """Trees in mid-growth."""
    tasks = [asyncio.create_task(grow_on_server(stack.client, each)) for each in jobs]

    async def grows() -> bool:
        return len(await stack.server.open_requests.remote()) > 2 * len(jobs)

    await until(grows)
    return tasks


def check_log_probs(tree: Tree, model: Any, *, bound: float) -> None:
    """Every trajectory has the log-probs of a model of transformers that reads prompt and response at once."""
    for trajectory in tree.trajectories:
        tokens = torch.tensor([[*tree.prompt_tokens, *trajectory.tokens]])
        with torch.no_grad():
            read = model(tokens).logits[0, len(tree.prompt_tokens) - 1 : -1].log_softmax(-1)
        expected = read.gather(-1, tokens[0, len(tree.prompt_tokens) :, None])[:, 0]
        torch.testing.assert_close(torch.tensor(trajectory.log_probs), expected, rtol=0.0, atol=bound)
