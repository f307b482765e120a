"""Asks a server for a whole tree: one call per prompt across the actor boundary.

Checked against verl 0.9.1 (``LLMServerClient``); ``tests/seams/test_server_seams.py`` holds the seam.
"""

import asyncio
import dataclasses
import logging
import time
from typing import Any

import ray
from verl.workers.rollout.llm_server import LLMServerClient

from treepo.verl.rollout.tree_job import GivenUp, GrownTree, TreeJob

logger = logging.getLogger(__name__)

_RETRY_S = 1.0
_REPORT_S = 60.0

# Of this process, whose trees all wait for the same servers: when one of them last said so.
_reported = float("-inf")


async def grow_on_server(client: LLMServerClient, job: TreeJob) -> GrownTree:
    """Grows a tree on the server that verl's balancer chooses; it counts as one request there.

    A server that leaves the rotation hands the tree back, and it is grown from the start on another one. Where no
    server takes it, it waits until one does, and a warning a minute says so. Cancelling the caller cancels the tree.

    Args:
        client: verl's client of the rollout servers.
        job: The tree wanted.

    Returns:
        The grown tree; what servers have decoded for it before they left counts as discarded.

    Raises:
        RolloutError: The tree could not be grown; raised by Ray together with its own ``RayTaskError``.
        RayActorError: The server is gone.
    """
    began, lost = time.monotonic(), 0
    while True:
        server_id, server = await client._acquire_server(job.tree_id, prompt_ids=job.prompt_tokens)
        try:
            answer = await _call(server, job)
        finally:
            client._release_server(server_id, request_id=job.tree_id)
        if isinstance(answer, GrownTree):
            return dataclasses.replace(answer, discarded_tokens=answer.discarded_tokens + lost)
        lost += answer.tokens
        _report(job, server_id, waited=time.monotonic() - began)
        await asyncio.sleep(_RETRY_S)


def _report(job: TreeJob, server_id: str, *, waited: float) -> None:
    global _reported
    now = time.monotonic()
    if waited < _REPORT_S or now - _reported < _REPORT_S:
        return
    _reported = now
    logger.warning(
        "%s: no rollout server has taken the tree for %.0f s, and others may wait as well; server %s, asked last, has "
        "left the rotation. The training continues once a server is back, and stands still until then",
        job.prompt_id,
        waited,
        server_id,
    )


async def _call(server: Any, job: TreeJob) -> GrownTree | GivenUp:
    reference = server.grow_tree.remote(job)
    try:
        return await reference
    except asyncio.CancelledError:
        # A cancelled await leaves the call running.
        ray.cancel(reference)
        raise
