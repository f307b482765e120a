"""The tree server with a view into its actor, for tests on the real vLLM."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import ray
import torch
from omegaconf import DictConfig, OmegaConf
from tiny_stack import PRESET, compose_tiny, ray_options
from transformers import AutoTokenizer
from verl.workers.rollout.llm_server import LLMServerClient, LLMServerManager
from verl.workers.rollout.replica import RolloutReplicaRegistry

from treepo.rollout import InEngine
from treepo.tree import Segment, SegmentRequest
from treepo.verl.rollout.decoder import VllmDecoder
from treepo.verl.rollout.tree_server import TreeReplica, TreeServer


class ProbeServer(TreeServer):
    """A tree server that can be looked into."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._engines: dict[str, InEngine] = {}

    async def decode_segment(
        self, tree_id: str, prompt_tokens: list[int], request: SegmentRequest, sampling_params: dict[str, Any]
    ) -> Segment:
        """A segment of the in-engine rollout alone, without a tree around it."""
        if tree_id not in self._engines:
            decoder = VllmDecoder(self, name=tree_id, order=1, sampling_params=sampling_params, seeded=True)
            self._engines[tree_id] = InEngine(decoder)
        return await self._engines[tree_id].decode_segment(prompt_tokens, request)

    async def release(self, tree_id: str, request_id: int) -> None:
        """Passes a release on."""
        self._engines[tree_id].release(request_id)

    async def close(self, tree_id: str) -> None:
        """Passes a close on."""
        await self._engines.pop(tree_id).close()

    async def open_requests(self) -> list[str]:
        """vLLM's names of the requests that the engine holds."""
        return list(self.engine.output_processor.request_states)

    async def growing(self) -> int:
        """Trees that grow."""
        return len(self._growing)

    async def admitting(self) -> int:
        """Requests between the gate and the engine."""
        return self._admitting

    async def abort(self, name: str) -> None:
        """Ends one request from outside."""
        await self.engine.abort(name, internal=True)

    async def kill_engine(self) -> None:
        """Kills vLLM's engine process, as the system does when memory runs out."""
        core: Any = self.engine.engine_core
        for process in core.resources.engine_manager.processes:
            os.kill(process.pid, signal.SIGKILL)

    async def scale_weights(self, factor: float) -> None:
        """New weights behind verl's back: every parameter times a factor."""
        # vLLM takes a function where insecure serialization is allowed.
        await self.engine.collective_rpc(cast("Any", _scale), args=(factor,))


def _scale(worker: Any, factor: float) -> None:
    for parameter in worker.model_runner.model.parameters():
        parameter.data.mul_(factor)


class ProbeReplica(TreeReplica):
    """A replica of such servers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.server_class = ray.remote(ProbeServer)


@dataclass(frozen=True)
class Stack:
    """Servers that run: their client, replica and actor of the first, all replicas, and the balancer."""

    client: LLMServerClient
    replica: Any
    server: Any
    replicas: list[Any]
    balancer: Any
    model: Path
    eos: int


@contextmanager
def running_cluster(model: Path, *, servers: int) -> Iterator[DictConfig]:
    """A private Ray cluster with room for some servers, or for as many as there are accelerators.

    On the CPU Ray only counts what it is told to be there.
    """
    config = compose_tiny(
        model,
        [
            "actor_rollout_ref.rollout.nnodes=1",
            "actor_rollout_ref.rollout.load_format=auto",
            "actor_rollout_ref.rollout.max_model_len=512",
        ],
    )
    options = ray_options(config)
    options["num_gpus"] = servers if PRESET == "cpu_quickstart" else min(servers, torch.cuda.device_count())
    options["runtime_env"]["env_vars"] |= {
        # The probe's own call into vLLM's worker is a function.
        "VLLM_ALLOW_INSECURE_SERIALIZATION": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    ray.init(**options)
    try:
        yield config
    finally:
        ray.shutdown()


@contextmanager
def registered(replica: type) -> Iterator[None]:
    """Makes verl start replicas of the given class."""
    loader = RolloutReplicaRegistry._registry["vllm"]
    RolloutReplicaRegistry.register("vllm", lambda: replica)
    try:
        yield
    finally:
        RolloutReplicaRegistry.register("vllm", loader)


def serve(config: DictConfig, *, rank: int, replicas: int = 1) -> Stack:
    """Starts standalone replicas; to be called outside of coroutines, since verl runs a loop of its own."""
    config = cast(
        "DictConfig",
        OmegaConf.merge(config, {"actor_rollout_ref": {"rollout": {"n_gpus_per_node": replicas}}}),
    )
    with registered(ProbeReplica):
        manager: Any = LLMServerManager.create(config, start_rank=rank)
    replica = manager.get_replicas()[0]
    model = Path(config.actor_rollout_ref.model.path)
    return Stack(
        client=manager.get_client(),
        replica=replica,
        server=replica.server_handle,
        replicas=manager.get_replicas(),
        balancer=manager.global_load_balancer,
        model=model,
        eos=AutoTokenizer.from_pretrained(model).eos_token_id,
    )


class ProbedEngine:
    """The in-engine rollout of a probe server as a ``SegmentEngine``."""

    def __init__(self, server: Any, tree_id: str, sampling_params: dict[str, Any]) -> None:
        self._server = server
        self._tree_id = tree_id
        self._sampling_params = sampling_params

    async def decode_segment(self, prompt_tokens: Sequence[int], request: SegmentRequest) -> Segment:
        return await self._server.decode_segment.remote(
            self._tree_id, list(prompt_tokens), request, self._sampling_params
        )

    def release(self, request_id: int) -> None:
        self._server.release.remote(self._tree_id, request_id)

    async def close(self) -> None:
        await self._server.close.remote(self._tree_id)
