"""Weight sockets that carry a name of the run's own.

New weights reach vLLM's workers through Unix sockets. verl 0.9.1 names them after Ray's job id, on either side for
itself: ``/tmp/rl-colocate-zmq-{job}-replica-{n}-rank-{m}.sock``. Every Ray cluster counts its jobs from 1, so two
trainings that each have a cluster on one machine would connect to each other, and both wait for ever. Here a random
name takes the job's place. It travels in the configuration, ``actor_rollout_ref.rollout.custom``: the trainer's
workers, and those beside dedicated servers, read it when verl builds their end (`server_adapter`), the servers
before they start vLLM (`name_receivers`).

The seam to verl; ``tests/seams/test_weight_sockets.py`` holds it. Importing this module tells verl to build the
sending end here; it imports no vLLM.
"""

import os
import secrets
from typing import Any

import ray
from omegaconf import DictConfig, OmegaConf, open_dict
from verl.workers.rollout import base as verl_rollout

# verl's variable for what stands in the job's place, read in vLLM's worker processes.
_VARIABLE = "VERL_RAY_JOB_ID"
_KEY = "treepo_weight_sockets"

verl_rollout._ROLLOUT_REGISTRY["vllm", "async"] = f"{__name__}.server_adapter"


def sends_over_sockets(config: DictConfig) -> bool:
    """Whether weights are sent to vLLM's workers, and both ends can be named.

    Args:
        config: The whole configuration.
    """
    rollout = config.actor_rollout_ref.rollout
    # verl starts separate servers for prefill and decoding by itself, and the workers beside dedicated servers have
    # room for one module, which may be the user's.
    return (
        rollout.name == "vllm"
        and not rollout.disaggregation.enabled
        and (rollout.checkpoint_engine.backend == "naive" or not rollout.checkpoint_engine.custom_backend_module)
    )


def use_own_sockets(config: DictConfig) -> None:
    """Gives the run's sockets a name, and makes verl's workers import this module.

    Args:
        config: The whole configuration of a training whose servers call `name_receivers`; changed in place.
    """
    model, rollout = config.actor_rollout_ref.model, config.actor_rollout_ref.rollout
    given = OmegaConf.to_container(model.external_lib) if OmegaConf.is_list(model.external_lib) else model.external_lib
    others = given if isinstance(given, list) else [given] if given else []
    with open_dict(config):
        model.external_lib = [*others, __name__]
        rollout.custom = {**(rollout.get("custom") or {}), _KEY: secrets.token_hex(8)}
        if rollout.checkpoint_engine.backend != "naive":
            rollout.checkpoint_engine.custom_backend_module = __name__


def server_adapter(*, config: Any, **kwargs: Any) -> Any:
    """The sending end, as verl asks its registry for it: verl's ``ServerAdapter``, with the run's name in its socket.

    Args:
        config: verl's rollout configuration, as the worker has it.
        **kwargs: verl's.

    Raises:
        RuntimeError: verl names its socket otherwise than the servers expect.
    """
    from verl.workers.rollout.vllm_rollout.vllm_rollout import ServerAdapter

    adapter = ServerAdapter(config=config, **kwargs)
    if name := _name(config):
        job = f"-zmq-{ray.get_runtime_context().get_job_id()}-replica-"
        before, found, after = adapter.zmq_handle.partition(job)
        if not found:
            raise RuntimeError(f"verl's weight socket {adapter.zmq_handle} does not name Ray's job: no supported verl")
        adapter.zmq_handle = f"{before}-zmq-{name}-replica-{after}"
    return adapter


def name_receivers(config: Any) -> None:
    """Names the sockets of the vLLM workers that this process, a server's, is going to start.

    Args:
        config: verl's rollout configuration, as the server has it; without a name it changes nothing.
    """
    if name := _name(config):
        os.environ[_VARIABLE] = name


def _name(config: Any) -> str | None:
    return (config.custom or {}).get(_KEY)
