"""Runs the arms of a cell side by side: warm-up, then repeats with the arms in turn."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from benchmarks.rollout.cell import Arm, Cell, Grown, Measured, mean_context
from benchmarks.rollout.engine import Engine
from benchmarks.rollout.lengths import DrawnLengths, LengthLaw, draw_prompt_lengths, law
from treepo.config import load_config
from treepo.rollout import grow_tree
from treepo.verl.rollout.portable_engine import PortableEngine
from treepo.verl.rollout.tree_client import grow_on_server
from treepo.verl.rollout.tree_job import TreeJob

_LIMIT_S = 6 * 3600.0


async def measure(
    engine: Engine, cell: Cell, arms: Sequence[Arm], *, repeats: int, warm_up: bool, seed: int, progress: Any
) -> dict[Arm, list[Measured]]:
    """Measures a cell.

    Args:
        engine: The engine of all arms.
        cell: The setting.
        arms: In the order in which they take turns.
        repeats: Measurements of each arm.
        warm_up: Whether one more comes first and is thrown away; a fresh engine's first steps are slow.
        seed: Seed of prompts, lengths and trees.
        progress: Told what runs, and what it took.

    Returns:
        The measurements of each arm.
    """
    prompts = _prompts(engine, cell, seed)
    results: dict[Arm, list[Measured]] = {arm: [] for arm in arms}
    for repeat in range(0 if warm_up else 1, repeats + 1):
        for arm in arms:
            async with asyncio.timeout(_LIMIT_S):
                measured = await _run(engine, cell, arm, prompts, f"{seed} {repeat}")
            if repeat:
                results[arm].append(measured)
            progress(arm, repeat, measured)
    return results


def _prompts(engine: Engine, cell: Cell, seed: int) -> list[list[int]]:
    if engine.prompts is not None:
        return [engine.prompts[index % len(engine.prompts)] for index in range(cell.prompts)]
    draw = random.Random(f"prompts {seed}")
    lengths = draw_prompt_lengths(draw, count=cell.prompts, mean=cell.prompt_length, block_size=engine.block_size)
    return [draw.choices(engine.words, k=length) for length in lengths]


async def _run(engine: Engine, cell: Cell, arm: Arm, prompts: list[list[int]], seed: str) -> Measured:
    lengths = law(cell.lengths, cell.longest)
    jobs = [_job(engine, cell, prompt, f"{seed} {index}", lengths) for index, prompt in enumerate(prompts)]
    await engine.server.begin.remote(lengths, by_order=arm is not Arm.IN_ENGINE_FCFS)
    loop = asyncio.get_running_loop()
    start = loop.time()
    grown: list[Grown]
    match arm:
        case Arm.INDEPENDENT:
            grown = await engine.server.independent.remote(
                prompts, cell.width, cell.longest, jobs[0].sampling_params, seed
            )
        case Arm.LOCKSTEP:
            grown = await engine.server.lockstep.remote(jobs)
        case Arm.PORTABLE:
            grown = await asyncio.gather(*(_portable(engine, job, lengths) for job in jobs))
        case Arm.IN_ENGINE | Arm.IN_ENGINE_FCFS:
            answers = await asyncio.gather(*(grow_on_server(engine.client, job) for job in jobs))
            grown = [Grown.of_tree(answer.tree, answer.discarded_tokens) for answer in answers]
    seconds = loop.time() - start
    counters, times, running = await engine.server.end.remote()
    return Measured(
        seconds=seconds,
        trajectories=sum(len(each.lengths) for each in grown),
        response_tokens=sum(sum(each.lengths) for each in grown),
        generated=counters.generated,
        computed=counters.computed,
        cached=counters.cached,
        requests=counters.requests,
        steps=len(running),
        preempted=counters.preempted,
        forks=sum(each.stats.forks for each in grown if each.stats),
        recomputed=sum(each.stats.recomputed_tokens for each in grown if each.stats),
        discarded=sum(each.discarded for each in grown),
        context=mean_context(grown),
        times=times,
        running=running,
    )


def _job(engine: Engine, cell: Cell, prompt: list[int], name: str, lengths: LengthLaw | None) -> TreeJob:
    drawn = lengths is not None
    return TreeJob(
        tree_id=name,
        prompt_id=name,
        prompt_tokens=prompt,
        options=load_config(cell.tree_options),
        sampling_params={"temperature": 1.0, "top_p": 1.0, "top_k": -1, "ignore_eos": drawn},
        max_response_length=cell.longest,
        eos_token_ids=frozenset() if drawn else frozenset({engine.eos}),
        width=None,
        training_progress=0.0,
        seeded=False,
        replicas=1,
    )


async def _portable(engine: Engine, job: TreeJob, lengths: LengthLaw | None) -> Grown:
    portable = PortableEngine(
        client=engine.client,
        tree_id=job.tree_id,
        sampling_params=job.sampling_params,
        seeded=job.seeded,
        eos_token_ids=job.eos_token_ids,
    )
    sampler = job.sampler(lambda tokens: "", lambda: 1)
    return Grown.of_tree(await grow_tree(sampler, portable if lengths is None else DrawnLengths(portable, lengths)))
