"""verl's FSDP engine and the packed one, outside of a training, on the same rows: what tests and benchmarks compare.

    with process_group():
        for packed in (False, True):
            engine = build_engine(folder, packed=packed)
            batch = make_batch(rows, max_tokens=4096)
            with engine.eval_mode():
                log_probs = engine.infer_batch(batch)["model_output"]["log_probs"]  # nested, as verl has them
            with engine.train_mode():
                metrics = engine.train_batch(batch, loss_function=policy_loss())["metrics"]

On a machine without an accelerator, VERL_PLATFORM=cpu, VERL_ENGINE_DEVICE=cuda and
VERL_USE_EXTERNAL_MODULES=treepo.verl.cpu must be set before anything imports verl.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from tensordict import TensorDict
from torch import Tensor
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_name, get_nccl_backend
from verl.workers.config import FSDPActorConfig, FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig
from verl.workers.engine.base import EngineRegistry
from verl.workers.utils.losses import ppo_loss

from treepo.packing import Rows
from treepo.verl.training import packed_engine
from treepo.verl.training.packing import MODEL_TYPE


@contextmanager
def process_group(rank: int = 0, ranks: int = 1, store: Any = None) -> Iterator[None]:
    """The process group that verl asks for, of this process alone or of several that share a store."""
    backends = dict.fromkeys((("cpu", "gloo"), (get_device_name(), get_nccl_backend())))
    torch.distributed.init_process_group(
        ",".join(f"{device}:{backend}" for device, backend in backends),
        store=store or torch.distributed.HashStore(),  # pyright: ignore[reportPrivateImportUsage]
        rank=rank,
        world_size=ranks,
    )
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def build_engine(
    folder: Path,
    *,
    packed: bool,
    autocast: bool = False,
    forward_only: bool = False,
    learning_rate: float = 1e-4,
    attention: str = "sdpa",
    sequence_ranks: int = 1,
    **model_options: Any,
) -> Any:
    """An initialised engine, as verl's training worker would make it from its registry.

    Args:
        folder: A model with its tokenizer; weights are held in float32.
        packed: The packed engine, or verl's own.
        autocast: Whether layers compute in bfloat16.
        forward_only: Whether it is a reference model, without an optimizer.
        learning_rate: AdamW's, without warm-up or weight decay.
        attention: The attention of verl's own engine.
        sequence_ranks: Ranks that share each micro-batch; verl's own engine needs a flash attention for several.
        **model_options: Further fields of verl's `HFModelConfig`.

    Returns:
        verl's `FSDPEngineWithLMHead` or a `PackedFSDPEngine`.
    """
    assert packed_engine.MODEL_TYPE == MODEL_TYPE, "importing the module registers the engine"
    # Padding is removed by verl's own engine where its attention can: then a micro-batch is one sequence, as here.
    unpadded = attention.startswith("flash")
    model_config = HFModelConfig(
        path=str(folder),
        **{
            "override_config": {"attn_implementation": attention},
            "use_remove_padding": unpadded or sequence_ranks > 1,
            "enable_gradient_checkpointing": False,
            **model_options,
        },
    )
    kind = "bf16" if autocast else "fp32"
    engine_config = FSDPEngineConfig(
        strategy="fsdp2",
        forward_only=forward_only,
        use_torch_compile=False,
        ulysses_sequence_parallel_size=sequence_ranks,
        model_dtype="fp32",
        mixed_precision={"param_dtype": kind, "reduce_dtype": "fp32", "buffer_dtype": "fp32"},
    )
    model_type = MODEL_TYPE if packed else "language_model"
    model_config.model_type = model_type
    engine = EngineRegistry.new(
        model_type,
        engine_config.strategy,
        model_config=model_config,
        engine_config=engine_config,
        optimizer_config=FSDPOptimizerConfig(lr=learning_rate, weight_decay=0.0, total_training_steps=100),
        checkpoint_config=CheckpointConfig(),
    )
    engine.initialize()
    return engine


def make_batch(
    rows: Rows,
    *,
    max_tokens: int | None = None,
    rows_per_batch: int | None = None,
    seed: int = 0,
    masked: Tensor | None = None,
    global_rows: int | None = None,
    **settings: Any,
) -> TensorDict:
    """The rows as verl's trainer hands them to a worker, with random advantages and old log-probs.

    Args:
        rows: One rank's rows.
        max_tokens: Tokens of a micro-batch: packed ones of the packed engine, padding left out in verl's own.
        rows_per_batch: Instead of it, rows of a micro-batch.
        seed: Draws the advantages and log-probs.
        masked: Bool, shape (rows,), rows without a loss, as padding rows are; none by default.
        global_rows: Rows on all ranks; these by default.
        **settings: Further settings of verl's, as ``calculate_entropy``.
    """
    generator = torch.Generator().manual_seed(seed)
    whole = rows.tokens.split(rows.lengths.tolist())
    lengths = [(int(row), int(prompt)) for row, prompt in zip(rows.lengths, rows.prompt_lengths, strict=True)]
    answers = [length - prompt for length, prompt in lengths]
    masked = torch.zeros(len(rows), dtype=torch.bool) if masked is None else masked
    mask = _nested([torch.full((size,), int(not out)) for size, out in zip(answers, masked.tolist(), strict=True)])

    def drawn(scale: float, shift: float) -> Tensor:
        return _nested([torch.randn(size, generator=generator) * scale + shift for size in answers])

    tensors: dict[str, Tensor | list[Any]] = {
        "input_ids": _nested(list(whole)),
        "position_ids": _nested([torch.arange(length) for length, _ in lengths]),
        "prompts": _nested([row[:prompt] for row, (_, prompt) in zip(whole, lengths, strict=True)]),
        "responses": _nested([row[prompt:] for row, (_, prompt) in zip(whole, lengths, strict=True)]),
        "response_mask": mask,
        "loss_mask": mask,
        "advantages": drawn(1.0, 0.0),
        "old_log_probs": drawn(0.5, -4.0),
        "ref_log_prob": drawn(0.5, -4.0),
    }
    plain = {
        "use_dynamic_bsz": max_tokens is not None,
        "max_token_len_per_gpu": max_tokens,
        "micro_batch_size_per_gpu": rows_per_batch,
        "use_remove_padding": False,
        "temperature": 1.0,
        "global_batch_size": global_rows or len(rows),
        **settings,
    }
    return tu.get_tensordict(tensors, plain)


def policy_loss(**options: Any) -> Callable[..., Any]:
    """The policy loss of verl with dual clip, bound to an actor's configuration; `options` are fields of it."""
    config = FSDPActorConfig(
        strategy="fsdp2",
        rollout_n=1,
        use_dynamic_bsz=True,
        clip_ratio_low=0.2,
        clip_ratio_high=0.28,
        clip_ratio_c=10.0,
        **options,
    )
    return partial(ppo_loss, config=config)


def _nested(rows: list[Tensor]) -> Tensor:
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)
