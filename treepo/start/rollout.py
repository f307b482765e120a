"""What of verl's rollout trees can do without, and what they cannot."""

import math
from pathlib import Path

from omegaconf import OmegaConf

from treepo.config import ConfigError
from treepo.config.policies import RolloutBackend
from treepo.config.suggestion import suggestion
from treepo.files import model
from treepo.start.declared import Start, reads
from treepo.verl.rollout.backend import backend

_ROLLOUT = "actor_rollout_ref.rollout"
_SERVERS = ("vllm", "sglang")
BACKEND = ("treepo", f"{_ROLLOUT}.name", f"{_ROLLOUT}.agent.default_agent_loop")
"""The options that decide where trees grow."""

# Below it vLLM takes the likeliest token.
_GREEDY = 1e-5


@reads("treepo", f"{_ROLLOUT}.n")
def width(start: Start) -> None:
    """Refuses a number of responses other than the width."""
    count = start.config.actor_rollout_ref.rollout.n
    if count != start.options.width:
        raise ConfigError(
            f"{_ROLLOUT}.n={count} is refused: it follows treepo.width={start.options.width}; set treepo.width alone"
        )


@reads(f"{_ROLLOUT}.name")
def server(start: Start) -> None:
    """Refuses servers that no tree can be grown on."""
    name = start.config.actor_rollout_ref.rollout.name
    if name == "trtllm":
        raise ConfigError(
            f"{_ROLLOUT}.name=trtllm is refused: verl's TensorRT-LLM server decodes every segment to the end of the "
            "response; set it to vllm"
        )
    if name not in _SERVERS:
        raise ConfigError(f"{_ROLLOUT}.name={name} is refused: {suggestion(str(name), _SERVERS)}")


@reads(*BACKEND, f"{_ROLLOUT}.full_determinism", "trainer.v1.trainer_mode", "trainer.device")
def seeds(start: Start) -> None:
    """Refuses seeds of requests, and determinism, where they would not do what they say."""
    rollout, trainer, seeded = (
        start.config.actor_rollout_ref.rollout,
        start.config.trainer,
        start.options.rollout.seeded_requests,
    )
    if rollout.name == "sglang" and seeded:
        raise ConfigError(
            f"treepo.rollout.seeded_requests=true is refused with {_ROLLOUT}.name=sglang: SGLang calls a request's "
            "seed by another name; set it to false"
        )
    portable = backend(start.config, start.options) is RolloutBackend.PORTABLE
    if trainer.v1.trainer_mode != "sync" and portable and seeded:
        raise ConfigError(
            f"treepo.rollout.seeded_requests=true is refused with trainer.v1.trainer_mode={trainer.v1.trainer_mode} "
            "and treepo.rollout.backend=portable: an interrupted request would continue with the random numbers of its "
            "beginning"
        )
    if rollout.full_determinism and trainer.device == "cpu":
        raise ConfigError(
            f"{_ROLLOUT}.full_determinism=true is refused with trainer.device=cpu: vLLM's batch-invariant kernels need "
            "an accelerator; treepo.rollout.seeded_requests=true gives each request its own seed"
        )


@reads(f"{_ROLLOUT}.enable_rollout_routing_replay", f"{_ROLLOUT}.ignore_eos", f"{_ROLLOUT}.temperature")
def sampling(start: Start) -> None:
    """Refuses ways of sampling that trees cannot follow, or learn nothing from."""
    rollout = start.config.actor_rollout_ref.rollout
    if rollout.enable_rollout_routing_replay:
        raise ConfigError(
            f"{_ROLLOUT}.enable_rollout_routing_replay=true is refused: trees record no expert routing; set it to false"
        )
    if rollout.ignore_eos:
        raise ConfigError(
            f"{_ROLLOUT}.ignore_eos=true is refused: a path ends with its answer, wherever in a segment that is; set "
            "it to false"
        )
    if rollout.temperature < _GREEDY:
        raise ConfigError(
            f"{_ROLLOUT}.temperature={rollout.temperature} is refused: the trajectories of a prompt would all be the "
            "same, and nothing can be learned from them; raise it, the published run has 1.0 (validation reads "
            f"{_ROLLOUT}.val_kwargs.temperature)"
        )


@reads(
    "actor_rollout_ref.model.path",
    "data.max_prompt_length",
    "data.max_response_length",
    f"{_ROLLOUT}.max_model_len",
)
def context_length(start: Start) -> None:
    """Refuses a context that is too short for prompt and response; a model on a hub is not looked at."""
    data, rollout = start.config.data, start.config.actor_rollout_ref.rollout
    needed = data.max_prompt_length + data.max_response_length
    lengths = f"data.max_prompt_length + data.max_response_length need {needed}"
    if rollout.max_model_len is not None:
        if rollout.max_model_len < needed:
            raise ConfigError(f"{_ROLLOUT}.max_model_len={rollout.max_model_len} is refused: {lengths}")
        return
    # vLLM takes the model's context as the limit, and every longer path would end there.
    path = start.config.actor_rollout_ref.model.path
    context = model.context_length(Path(str(path)).expanduser())
    if context is not None and context < needed:
        raise ConfigError(
            f"actor_rollout_ref.model.path={path} is refused: {lengths}, and the model's context has {context} tokens "
            "(max_position_embeddings); lower them"
        )


@reads(*BACKEND, f"{_ROLLOUT}.disaggregation.enabled", f"{_ROLLOUT}.enable_prefix_caching")
def in_engine(start: Start) -> None:
    """Refuses what the backend in the engine cannot do without."""
    if backend(start.config, start.options) is not RolloutBackend.IN_ENGINE:
        return
    rollout = start.config.actor_rollout_ref.rollout
    remedy = "set treepo.rollout.backend=portable"
    if rollout.name != "vllm":
        raise ConfigError(
            f"treepo.rollout.backend=in_engine is refused with {_ROLLOUT}.name={rollout.name}: only vLLM's engine is "
            f"known; {remedy}"
        )
    if rollout.disaggregation.enabled:
        raise ConfigError(
            f"treepo.rollout.backend=in_engine is refused with {_ROLLOUT}.disaggregation.enabled=true: prefill and "
            f"decoding live in different servers; {remedy}"
        )
    if not rollout.enable_prefix_caching:
        raise ConfigError(
            f"treepo.rollout.backend=in_engine is refused with {_ROLLOUT}.enable_prefix_caching=false: every fork "
            "would compute its whole prefix again; set it to true"
        )


_CHECKPOINT_ENGINE = f"{_ROLLOUT}.checkpoint_engine"
_MODEL = "actor_rollout_ref.model"
_SLOTS = "ray_kwargs.ray_init.num_gpus"
_SIZES = tuple(f"{_ROLLOUT}.{kind}_parallel_size" for kind in ("tensor_model", "data", "pipeline_model"))


@reads(
    *("trainer.v1.trainer_mode", "trainer.nnodes", "trainer.n_gpus_per_node"),
    *(f"{_ROLLOUT}.nnodes", f"{_ROLLOUT}.n_gpus_per_node", *_SIZES),
    *(_SLOTS, "ray_kwargs.ray_init.address"),
)
def own_servers(start: Start) -> None:
    """Refuses dedicated servers without the accelerators for them."""
    trainer, rollout = start.config.trainer, start.config.actor_rollout_ref.rollout
    if trainer.v1.trainer_mode != "separate_async":
        return
    given = f"{_ROLLOUT}.nnodes={rollout.nnodes} x {_ROLLOUT}.n_gpus_per_node={rollout.n_gpus_per_node}"
    size = math.prod(OmegaConf.select(start.config, option) for option in _SIZES)
    count = rollout.nnodes * rollout.n_gpus_per_node
    if count < 1 or count % size:
        raise ConfigError(
            f"{given} is refused with trainer.v1.trainer_mode=separate_async: the servers need accelerators of their "
            f"own besides the trainer's, {size} each (tensor x data x pipeline)"
        )
    slots, wanted = OmegaConf.select(start.config, _SLOTS), trainer.nnodes * trainer.n_gpus_per_node + count
    # Of a cluster that runs, or of several nodes, Ray counts them.
    if OmegaConf.select(start.config, "ray_kwargs.ray_init.address") == "local" and slots and slots < wanted:
        raise ConfigError(
            f"{_SLOTS}={slots} is refused: the trainer and its servers ({given}) take {wanted}; set it to {wanted}"
        )


@reads(
    *("trainer.v1.trainer_mode", "trainer.device", f"{_CHECKPOINT_ENGINE}.backend"),
    *(f"{_CHECKPOINT_ENGINE}.custom_backend_module", f"{_MODEL}.lora_rank", f"{_MODEL}.lora"),
    *("reward.reward_model.enable", "reward.reward_model.enable_resource_pool"),
)
def weights_for_own_servers(start: Start) -> None:
    """Refuses dedicated servers that the trainer's weights would not reach."""
    config = start.config
    if config.trainer.v1.trainer_mode != "separate_async":
        return
    engine, on_cpu = config.actor_rollout_ref.rollout.checkpoint_engine, config.trainer.device == "cpu"
    if engine.backend == "naive" or (on_cpu and engine.backend != "gloo" and not engine.custom_backend_module):
        raise ConfigError(
            f"{_CHECKPOINT_ENGINE}.backend={engine.backend} is refused with trainer.v1.trainer_mode=separate_async on "
            f"trainer.device={config.trainer.device}: it does not take weights to dedicated servers there; set it "
            f"to {'gloo' if on_cpu else 'nccl (or gloo, by way of main memory)'}"
        )
    model = config.actor_rollout_ref.model
    if (model.lora_rank > 0 or model.lora.get("rank", 0) > 0) and not model.lora.get("merge", False):
        raise ConfigError(
            f"{_MODEL}.lora.merge=false is refused with trainer.v1.trainer_mode=separate_async: verl sends the base "
            "model's weights alone to dedicated servers, which would never have the adapters; set it to true"
        )
    reward = config.reward.reward_model
    if reward.enable and not reward.enable_resource_pool:
        raise ConfigError(
            "reward.reward_model.enable_resource_pool=false is refused with trainer.v1.trainer_mode=separate_async: "
            "dedicated servers never make room for the reward model; set it to true"
        )
