"""A tiny random model and the preset of the device at hand, for tests on the real stack."""

import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from omegaconf import DictConfig, OmegaConf
from transformers import Qwen2Config, Qwen3Config
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from treepo.config.load import compose
from treepo.quickstart.tokenizer import train_tokenizer

PRESET = {"cpu": "cpu_quickstart", "cuda": "gpu_check"}[os.environ.get("TREEPO_TEST_DEVICE", "cpu")]
# Of the contract tests' servers: vLLM has two model runners, and takes the second for Qwen3.
MODEL_KIND = os.environ.get("TREEPO_TEST_MODEL", "qwen2")
DEVICE_OVERRIDES = os.environ.get("TREEPO_TEST_OVERRIDES", "").split()


def write_tiny_model(folder: Path, *, kind: str = "qwen2") -> Path:
    """A random Qwen2 or Qwen3 with two layers, in float32."""
    tokenizer = train_tokenizer(["7 plus 5 is 12.\n"], vocabulary=300)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        {"qwen2": Qwen2Config, "qwen3": Qwen3Config}[kind](
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,  # pyright: ignore[reportCallIssue]
            max_position_embeddings=512,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            dtype=torch.float32,
        ),
        dtype=torch.float32,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def fit_tokenizer(model: Path, table: Path) -> Path:
    """Gives a tiny model the tokenizer of a table's prompts; its own knows sums alone, and makes others long."""
    prompts = [message["content"] for row in pq.read_table(table)["prompt"].to_pylist() for message in row]
    train_tokenizer(prompts, vocabulary=600).save_pretrained(model)
    return model


def mode_overrides(mode: str) -> list[str]:
    """The preset's options for one of verl's trainers."""
    rollout = "actor_rollout_ref.rollout"
    own_servers = ["nnodes=1", "n_gpus_per_node=1", "checkpoint_engine.backend=gloo"]
    needed = {
        "separate_async": [
            *(f"{rollout}.{option}" for option in own_servers),
            "trainer.v1.separate_async.parameter_sync_step=1",
            "ray_kwargs.ray_init.num_gpus=2",
        ]
    }
    return [f"trainer.v1.trainer_mode={mode}", *needed.get(mode, [])]


def compose_tiny(model: Path, overrides: list[str]) -> DictConfig:
    """The preset on a model of its own, interpolations resolved."""
    config = compose(PRESET, [f"actor_rollout_ref.model.path={model}", *DEVICE_OVERRIDES, *overrides])
    OmegaConf.resolve(config)
    return config


def ray_options(config: DictConfig) -> dict[str, Any]:
    """What the preset starts Ray with."""
    options = OmegaConf.to_container(config.ray_kwargs.ray_init, resolve=True)
    assert isinstance(options, dict)
    options["runtime_env"] = {"env_vars": options["runtime_env"]["env_vars"]}
    return {str(name): value for name, value in options.items()}
