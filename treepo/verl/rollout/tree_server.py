"""verl's vLLM server with trees that grow in its actor, next to ``AsyncLLM``: one call per prompt.

Checked against verl 0.9.1 (``verl/workers/rollout/vllm_rollout/vllm_async_server.py``);
``tests/seams/test_server_seams.py`` holds the seams.
"""

import asyncio
import itertools
import logging
from typing import Any

import ray
from verl.workers.rollout.replica import RolloutReplicaRegistry
from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer, vLLMReplica

from treepo.rollout import Decoder, InEngine, RolloutError, grow_tree
from treepo.verl.rollout.decoder import ServerLeftError, VllmDecoder
from treepo.verl.rollout.tree_job import GivenUp, GrownTree, TreeJob
from treepo.verl.weight_sockets import name_receivers

logger = logging.getLogger(__name__)

_DRAIN_LIMIT_S = 300.0
_MOST_TREES = 16_384


class SocketServer(vLLMHttpServer):
    """verl's server; its weight sockets carry the run's name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name_receivers(self.config)


class TreeServer(SocketServer):
    """The server that also grows trees.

    Attributes:
        pauses: Times the server was paused for new weights, or for good.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pauses = 0
        self._orders = itertools.count(1)
        self._growing: set[int] = set()

    @property
    def paused(self) -> bool:
        """Whether the admission gate is closed."""
        return self._submission_paused

    async def grow_tree(self, job: TreeJob) -> GrownTree | GivenUp:
        """Grows one prompt's tree.

        Args:
            job: The tree wanted.

        Returns:
            The grown tree; or, where the server left the rotation, what is lost.

        Raises:
            RolloutError: The tree could not be grown; nothing of it runs any more.
        """
        room = self.config.max_model_len - len(job.prompt_tokens)
        if room < 1:
            raise RolloutError(
                f"prompt {job.prompt_id}: its {len(job.prompt_tokens)} tokens leave no room for a response within "
                f"actor_rollout_ref.rollout.max_model_len={self.config.max_model_len}"
            )
        order = next(self._orders)
        if order == 1:
            self._warn_of_block_size(job.options.segment_length)
        engine = InEngine(self.decoder(job, order))
        sampler = job.sampler(
            self._text,
            lambda: len(self._growing) * job.replicas,
            max_response_length=min(job.max_response_length, room),
        )
        self._growing.add(order)
        try:
            tree = await grow_tree(sampler, engine)
        except RolloutError as error:
            if isinstance(error.__cause__, ServerLeftError):
                return GivenUp(tokens=engine.segment_tokens + engine.discarded_tokens)
            raise
        finally:
            self._growing.discard(order)
        return GrownTree(tree=tree, discarded_tokens=engine.discarded_tokens)

    def decoder(self, job: TreeJob, order: int) -> Decoder:
        """What opens a tree's requests; ``order`` is the tree's place among those of this server, from 1."""
        return VllmDecoder(
            self,
            name=f"tree-{order}-{job.tree_id}",
            order=order,
            sampling_params=job.sampling_params,
            seeded=job.seeded,
        )

    async def abort_all_requests(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Pauses; the trees' requests are interrupted and wait at the gate."""
        self.pauses += 1
        return await super().abort_all_requests(*args, **kwargs)

    async def abort_request(self, request_id: str, reset_prefix_cache: bool = True) -> dict[str, Any]:
        """Aborts one request, and leaves the cache to the others."""
        return await super().abort_request(request_id, reset_prefix_cache=False)

    async def clear_kv_cache(self) -> None:
        """Forgets the prefixes of the old weights.

        Raises:
            RuntimeError: Requests still run, so that vLLM keeps their prefixes.
        """
        await super().clear_kv_cache()
        # verl does not look at the answer.
        if self.node_rank != 0:
            return
        # Of data-parallel engines only the first one answers; the requests here are those of all.
        if self.engine.output_processor.request_states or not await self.engine.reset_prefix_cache(
            reset_connector=True
        ):
            raise RuntimeError(
                f"vLLM kept its prefix cache because requests still run ({len(self._growing)} trees grow): they would "
                "continue from states of the old weights"
            )

    async def wait_for_requests_to_drain(self) -> None:
        """Waits until no request runs; a tree has none between two segments, or while it waits at the gate.

        Raises:
            TimeoutError: Trees grew on for five minutes.
        """
        deadline = asyncio.get_running_loop().time() + _DRAIN_LIMIT_S
        while self._growing and not self.paused:
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError(f"{len(self._growing)} trees still grow after {_DRAIN_LIMIT_S:.0f} seconds")
            await asyncio.sleep(0.05)
        await super().wait_for_requests_to_drain()

    def _text(self, tokens: Any) -> str:
        return self.model_config.tokenizer.decode(list(tokens), skip_special_tokens=True)

    def _warn_of_block_size(self, segment_length: int) -> None:
        block = self.engine.vllm_config.cache_config.block_size
        if block and segment_length % block:
            logger.warning(
                "treepo.segment_length=%d is no multiple of the KV block of %d tokens: a fork computes the last, "
                "unfinished block of its prefix again, 1 to %d tokens that differ from depth to depth",
                segment_length,
                block,
                block,
            )


class SocketReplica(vLLMReplica):
    """verl's replica of servers whose weight sockets carry the run's name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.server_class = ray.remote(SocketServer)


class TreeReplica(vLLMReplica):
    """verl's replica of servers that grow trees."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.server_class = ray.remote(TreeServer)

    @property
    def max_concurrency(self) -> int:
        """Calls at once: every tree of a step is one, and a pause must get through beside them."""
        return max(super().max_concurrency, _MOST_TREES)


def use_servers(*, trees: bool) -> None:
    """Puts our servers in the place of verl's vLLM servers, in this process.

    Args:
        trees: Whether they grow trees.
    """
    RolloutReplicaRegistry.register("vllm", lambda: TreeReplica if trees else SocketReplica)
