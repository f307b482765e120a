"""Starts the one engine of a benchmark: a model's shape or the quickstart's model, on the CPU or an accelerator."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console
from verl.workers.rollout.llm_server import LLMServerClient, LLMServerManager
from verl.workers.rollout.replica import RolloutReplicaRegistry

from benchmarks.rollout.server import BenchmarkReplica
from treepo.config.load import compose

SHAPES: dict[str, dict[str, int]] = {
    # Few wide layers: on one core a step's time follows the sequences in it, as on an accelerator with a full batch.
    "small": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 2,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 400,
    },
    "qwen2_5_0_5b": {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
    },
    "qwen2_5_7b": {
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152_064,
    },
}
"""Published shapes of Qwen2.5 (their ``config.json``), and a small one for CPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A server that runs.

    Attributes:
        client: verl's client of it.
        server: Its actor.
        eos: The token that ends an answer.
        words: Token ids that prompts may be made of.
        prompts: The prompts of the quickstart's task; None where weights mean nothing.
        block_size: Tokens of a KV block.
    """

    client: LLMServerClient
    server: Any
    eos: int
    words: range
    prompts: list[list[int]] | None
    block_size: int


def write_dummy_model(folder: Path, shape: str, longest: int) -> Path:
    """A model's configuration and a tokenizer, without weights.

    Args:
        folder: Where to.
        shape: A name of ``SHAPES``, or a folder with a model's ``config.json`` and tokenizer.
        longest: Most tokens of prompt and response.

    Raises:
        ValueError: It is neither.
    """
    from transformers import AutoConfig, AutoTokenizer, Qwen2Config

    from treepo.quickstart.tokenizer import train_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    if (Path(shape) / "config.json").is_file():
        config = AutoConfig.from_pretrained(shape)
        config.max_position_embeddings = max(longest, config.max_position_embeddings)
        config.save_pretrained(folder)
        AutoTokenizer.from_pretrained(shape).save_pretrained(folder)
        return folder
    if shape not in SHAPES:
        raise ValueError(
            f"--model {shape} is no folder with a config.json, and none of quickstart, {', '.join(SHAPES)}"
        )
    tokenizer: Any = train_tokenizer(["7 plus 5 is 12.\n"], vocabulary=300)
    sizes: dict[str, Any] = {**SHAPES[shape]}
    Qwen2Config(
        **sizes,
        max_position_embeddings=longest,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        architectures=["Qwen2ForCausalLM"],
        tie_word_embeddings=shape != "qwen2_5_7b",
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def running_engine(
    *,
    model: str,
    device: str,
    slots: int,
    longest: int,
    interval: int,
    folder: Path,
    overrides: Sequence[str],
    console: Console,
) -> Iterator[Engine]:
    """Starts the engine, and ends it.

    Args:
        model: ``quickstart``, a shape, or a model's folder.
        device: ``cpu`` or ``cuda``.
        slots: Sequence slots.
        longest: Most tokens of prompt and response.
        interval: Tokens between two looks at a running request; divides every segment length.
        folder: Where models are kept.
        overrides: Hydra overrides of the engine's settings.
        console: Told what happens.
    """
    if model == "quickstart":
        from treepo.quickstart.prepare import prepare

        prepared = prepare(folder / "quickstart", console=console)
        path, load_format, prompts = prepared.model.path, "auto", prepared.task.held_out
    else:
        path, load_format, prompts = (
            write_dummy_model(folder / f"{Path(model).name}-{longest}", model, longest),
            "dummy",
            None,
        )
    config = _config(path, load_format, overrides, device=device, slots=slots, longest=longest, interval=interval)
    options: Any = OmegaConf.to_container(config.ray_kwargs.ray_init, resolve=True)
    options["runtime_env"]["env_vars"]["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    RolloutReplicaRegistry.register("vllm", lambda: BenchmarkReplica)
    console.print(f"starting vLLM: {model}, {slots} sequence slots, {device}")
    ray.init(**options, log_to_driver=False)
    try:
        yield _serve(config, path, prompts)
    finally:
        ray.shutdown()


def _config(
    path: Path,
    load_format: str,
    further: Sequence[str],
    *,
    device: str,
    slots: int,
    longest: int,
    interval: int,
) -> DictConfig:
    preset = "cpu_quickstart" if device == "cpu" else "treepo_trainer"
    overrides = [
        f"actor_rollout_ref.model.path={path}",
        f"actor_rollout_ref.rollout.load_format={load_format}",
        f"actor_rollout_ref.rollout.max_num_seqs={slots}",
        f"actor_rollout_ref.rollout.max_model_len={longest}",
        f"actor_rollout_ref.rollout.engine_kwargs.vllm.stream_interval={interval}",
        # Preemptions are counted in vLLM's own statistics.
        "actor_rollout_ref.rollout.disable_log_stats=false",
        "actor_rollout_ref.rollout.nnodes=1",
        "actor_rollout_ref.rollout.n_gpus_per_node=1",
        "actor_rollout_ref.rollout.tensor_model_parallel_size=1",
    ]
    if device == "cpu":
        overrides += [
            # A fork computes an unfinished block again; with short segments smaller blocks keep that in proportion.
            "actor_rollout_ref.rollout.engine_kwargs.vllm.block_size=16",
            "ray_kwargs.ray_init.runtime_env.env_vars.OMP_NUM_THREADS='1'",
        ]
    else:
        overrides += [
            "+ray_kwargs.ray_init.address=local",
            "actor_rollout_ref.rollout.gpu_memory_utilization=0.85",
            "actor_rollout_ref.rollout.max_num_batched_tokens=16384",
        ]
    config = compose(preset, [*overrides, *further])
    with open_dict(config):
        config.run_dir = "unused"
    OmegaConf.resolve(config)
    return config


def _serve(config: DictConfig, path: Path, prompts: Path | None) -> Engine:
    from transformers import AutoTokenizer

    manager: Any = LLMServerManager.create(config)
    server = manager.get_replicas()[0].server_handle
    tokenizer = AutoTokenizer.from_pretrained(path)
    return Engine(
        client=manager.get_client(),
        server=server,
        eos=tokenizer.eos_token_id,
        words=range(40, 240),
        prompts=None if prompts is None else _tokenized(prompts, tokenizer),
        block_size=ray.get(server.block_size.remote()),
    )


def _tokenized(parquet: Path, tokenizer: Any) -> list[list[int]]:
    import datasets

    rows: Sequence[Any] = datasets.Dataset.from_parquet(str(parquet))["prompt"]  # pyright: ignore[reportIndexIssue,reportAssignmentType]
    return [
        list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False))
        for messages in rows
    ]
