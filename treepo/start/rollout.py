"""What of verl's rollout trees can do without, and what they cannot; refused before any process starts."""

from difflib import get_close_matches
from pathlib import Path

from omegaconf import DictConfig

from treepo.config import ConfigError, TreePOConfig
from treepo.config.policies import RolloutBackend
from treepo.datasets.parquet import column_values
from treepo.start.environment import check_turns
from treepo.start.model import read_json
from treepo.verl.rollout.backend import backend

_ROLLOUT = "actor_rollout_ref.rollout"
_SERVERS = ("vllm", "sglang")
# Below it vLLM takes the likeliest token.
_GREEDY = 1e-5


def check_rollout(config: DictConfig, options: TreePOConfig) -> None:
    """Checks servers, backend, and what a tree's prompt may be.

    Args:
        config: The whole configuration.
        options: TreePO's.

    Raises:
        ConfigError: Something cannot work; the text is one line that names the option and the remedy.
    """
    _check_server(config, options)
    check_turns(config, options)
    _check_prompts(config)
    _check_length(config)
    if backend(config, options) is RolloutBackend.IN_ENGINE:
        _check_in_engine(config)


def _check_server(config: DictConfig, options: TreePOConfig) -> None:
    rollout = config.actor_rollout_ref.rollout
    if rollout.name == "trtllm":
        raise ConfigError(
            f"{_ROLLOUT}.name=trtllm is refused: verl's TensorRT-LLM server decodes every segment to the end of the "
            "response; set it to vllm"
        )
    if rollout.name not in _SERVERS:
        close = get_close_matches(str(rollout.name), _SERVERS, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"it must be one of {', '.join(_SERVERS)}"
        raise ConfigError(f"{_ROLLOUT}.name={rollout.name} is refused: {remedy}")
    if rollout.name == "sglang" and options.rollout.seeded_requests:
        raise ConfigError(
            f"treepo.rollout.seeded_requests=true is refused with {_ROLLOUT}.name=sglang: SGLang calls a request's "
            "seed by another name; set it to false"
        )
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
    if rollout.full_determinism and config.trainer.device == "cpu":
        raise ConfigError(
            f"{_ROLLOUT}.full_determinism=true is refused with trainer.device=cpu: vLLM's batch-invariant kernels need "
            "an accelerator; treepo.rollout.seeded_requests=true gives each request a seed of its own"
        )


def _check_prompts(config: DictConfig) -> None:
    """Trees are text: a picture would be left out of the training silently."""
    files = config.data.train_files
    for path in [files] if isinstance(files, str) else files:
        _check_rows(Path(path).expanduser(), config)


def _check_rows(path: Path, config: DictConfig) -> None:
    for key in ("image_key", "video_key", "audio_key"):
        column = config.data.get(key)
        row = column and next((row for row, value in enumerate(column_values(path, column)) if value), None)
        if row is not None:
            raise ConfigError(
                f"data.train_files: {path} row {row} has {column} (data.{key}): trees grow from text alone; train on "
                "other rows"
            )


def _check_length(config: DictConfig) -> None:
    rollout = config.actor_rollout_ref.rollout
    needed = config.data.max_prompt_length + config.data.max_response_length
    lengths = f"data.max_prompt_length + data.max_response_length need {needed}"
    if rollout.max_model_len is not None:
        if rollout.max_model_len < needed:
            raise ConfigError(f"{_ROLLOUT}.max_model_len={rollout.max_model_len} is refused: {lengths}")
        return
    # vLLM takes the model's context as the limit, and every longer path would end there; one on a hub is not looked at.
    model = config.actor_rollout_ref.model.path
    described = Path(str(model)).expanduser() / "config.json"
    context = read_json(described).get("max_position_embeddings") if described.is_file() else None
    if isinstance(context, int) and context < needed:
        raise ConfigError(
            f"actor_rollout_ref.model.path={model} is refused: {lengths}, and the model's context has {context} tokens "
            "(max_position_embeddings); lower them"
        )


def _check_in_engine(config: DictConfig) -> None:
    rollout = config.actor_rollout_ref.rollout
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
