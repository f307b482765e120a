"""What verl's engine and the packed one make of the same rows, and how far apart that is, for tests and a table."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from torch.distributed.tensor import DTensor
from verl.utils import tensordict_utils as tu
from verl.workers.utils.padding import response_from_nested

from benchmarks.engines import build_engine, make_batch, policy_loss, process_group
from benchmarks.packing_passes import grow_rows, make_model
from treepo.packing import Rows
from treepo.quickstart.tokenizer import train_tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOutcome:
    """What one engine gave.

    Attributes:
        log_probs: Shape (response tokens of all rows,), before the first update.
        entropies: Likewise.
        losses: Before the first update and in each, the sum over the micro-batches.
        gradients: Of the first step, by parameter name.
        weights: After the last step, by parameter name.
        metrics: verl's metrics of the last of them.
    """

    log_probs: Tensor
    entropies: Tensor
    losses: tuple[float, ...]
    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]
    metrics: dict[str, Any]


def run_engine(
    engine: Any, batches: Sequence[TensorDict], loss: Callable[..., Any], *, steps: int = 1
) -> EngineOutcome:
    """Old log-probs of the first batch, its gradient, and `steps` updates on the batches in turn."""
    log_probs, entropies = infer(engine, batches[0])
    with engine.train_mode():
        first = engine.forward_backward_batch(batches[0], loss)
        gradients = {
            name: _whole(value.grad) for name, value in engine.module.named_parameters() if value.requires_grad
        }
        done = [engine.train_batch(batches[step % len(batches)], loss) for step in range(steps)]
    return EngineOutcome(
        log_probs=log_probs,
        entropies=entropies,
        losses=tuple(sum(result["loss"]) for result in (first, *done)),
        gradients=gradients,
        weights={name: _whole(value) for name, value in engine.module.named_parameters()},
        metrics=(done[-1] if done else first)["metrics"],
    )


def infer(engine: Any, batch: TensorDict) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies of all response tokens, cut out of the engine's rows as verl's trainer does."""
    tu.assign_non_tensor(batch, calculate_entropy=True)
    with engine.eval_mode():
        found = engine.infer_batch(batch)["model_output"]
    log_probs, entropies = (
        response_from_nested(found[name], batch["response_mask"]) for name in ("log_probs", "entropy")
    )
    return log_probs.values(), entropies.values()


def _whole(value: Tensor | None) -> Tensor:
    assert value is not None, "every parameter has a gradient"
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach().clone()


def apart(one: EngineOutcome, other: EngineOutcome, *, floor: float = 0.0) -> dict[str, float]:
    """Relative errors of the first against the second.

    Log-probs and entropies by their largest entry, losses each by its size, gradients and weights by the norm of each
    parameter's, the worst of them.

    Args:
        one: What one engine gave.
        other: What the other gave.
        floor: Norms below this part of all parameters' norm count as that: among few tokens some gradients nearly
            cancel.
    """

    def largest(a: Tensor, b: Tensor) -> float:
        return ((a - b).abs().max() / b.abs().max()).item()

    def worst(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
        least = max(floor * float(torch.stack([value.norm() for value in b.values()]).norm()), 1e-30)
        return max(float((a[name] - value).norm()) / max(float(value.norm()), least) for name, value in b.items())

    return {
        "log-probs": largest(one.log_probs, other.log_probs),
        "entropies": largest(one.entropies, other.entropies),
        "loss": max(abs(a - b) / abs(b) for a, b in zip(one.losses, other.losses, strict=True)),
        "gradients": worst(one.gradients, other.gradients),
        "weights": worst(one.weights, other.weights),
    }


def write_model(folder: Path, kind: str = "qwen2") -> Path:
    """A small random model with a tokenizer.

    Its attention is not uniform, and its biases are not zero: AdamW's first steps are as large as the learning rate
    wherever a gradient is not zero, rounding or not, and nothing could be said of a bias that consists of them.
    """
    tokenizer = train_tokenizer(["7 plus 5 is 12.\n"], vocabulary=300)
    model = make_model(kind, vocabulary=len(tokenizer))
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(value, std=0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


CASES: dict[str, dict[str, dict[str, Any]]] = {
    "float32": {},
    "float32, entropy and KL": {"loss": {"entropy_coeff": 0.01, "use_kl_loss": True}},
    "float32, gradient checkpointing": {"engine": {"enable_gradient_checkpointing": True}},
    "float32, 4 rows per micro-batch": {"batching": {"rows_per_batch": 4}, "verls": {"rows_per_batch": 4}},
    "float32, trees split at 120 tokens": {"batching": {"max_tokens": 120}},
    "noise: verl in float32, 1 row per micro-batch": {"kind": {"packed": False}, "batching": {"rows_per_batch": 1}},
    "bfloat16": {"kind": {"autocast": True}, "verls_kind": {"autocast": True}},
    "noise: verl in bfloat16, 1 row per micro-batch": {
        "kind": {"packed": False, "autocast": True},
        "verls_kind": {"autocast": True},
        "batching": {"rows_per_batch": 1},
    },
    "bfloat16 against verl in float32": {"kind": {"autocast": True}},
    "noise: verl in bfloat16 against verl in float32": {"kind": {"packed": False, "autocast": True}},
}
"""What is compared, packed unless its kind says otherwise, with verl's own: options of both engines and of the loss,
what kinds of engines they are, and how they make micro-batches."""


def compare(folder: Path, rows: Rows, case: dict[str, dict[str, Any]], *, seed: int, steps: int) -> dict[str, float]:
    """How far one engine is from verl's own after some updates on the same rows.

    Args:
        folder: The model.
        rows: The rows.
        case: One of `CASES`.
        seed: Of advantages and log-probs.
        steps: Updates, on two batches in turn.
    """
    ours, verls = (run_case(folder, rows, case, packed=packed, seed=seed, steps=steps) for packed in (True, False))
    return apart(ours, verls)


def run_case(
    folder: Path,
    rows: Rows,
    case: dict[str, dict[str, Any]],
    *,
    packed: bool,
    seed: int,
    steps: int,
    sequence_ranks: int = 1,
) -> EngineOutcome:
    """What one of a case's two engines gives.

    Args:
        folder: The model.
        rows: The rows.
        case: One of `CASES`.
        packed: The case's own engine, or verl's that it is compared with.
        seed: Of advantages and log-probs.
        steps: Updates, on two batches in turn.
        sequence_ranks: Ranks that share each micro-batch; a limit on tokens is theirs together.
    """
    kind, batching = ("kind", "batching") if packed else ("verls_kind", "verls")
    settings = dict(case.get(batching, {"max_tokens": 400}))
    if "max_tokens" in settings:
        settings["max_tokens"] //= sequence_ranks
    options = {"packed": packed, "sequence_ranks": sequence_ranks, **case.get("engine", {}), **case.get(kind, {})}
    chosen = case.get("loss", {})
    return run_engine(
        build_engine(folder, **options),
        [make_batch(rows, **settings, seed=seed + at, calculate_entropy=bool(chosen)) for at in range(2)],
        policy_loss(**chosen),
        steps=steps,
    )


FLOAT32_BOUND = 5e-5
"""Largest relative error in float32: rounding, which AdamW and the order of a device's sums magnify."""

NOISE_BOUND = 2.0
"""How much further from float32 the packed engine may be in bfloat16 than verl's own is."""

LOSS_NOISE_BOUND = 5.0
"""The same for a loss: its terms have either sign and nearly cancel, so what is left of their rounding is luck."""


def worst_errors(rounds: int, *, kind: str = "qwen2", steps: int = 4) -> Iterator[tuple[str, dict[str, float]]]:
    """The worst relative errors against verl's own engine over several random trees, a case at a time.

    Args:
        rounds: Random trees of each case.
        kind: Of the model, one of ``benchmarks.packing_passes.CONFIGS``.
        steps: Updates.
    """
    with TemporaryDirectory() as name, process_group():
        folder = write_model(Path(name), kind)
        for label, case in CASES.items():
            worst: dict[str, float] = {}
            for seed in range(rounds):
                rows = grow_rows(random.Random(seed), prompts=3)
                found = compare(folder, rows, case, seed=seed, steps=steps)
                worst = {name: max(error, worst.get(name, 0.0)) for name, error in found.items()}
            yield label, worst


def exceeded(errors: dict[str, dict[str, float]]) -> list[str]:
    """What is further apart than rounding explains, a line each.

    Args:
        errors: As `worst_errors` gives them, by case.
    """
    bounds = {
        label: dict.fromkeys(found, FLOAT32_BOUND) for label, found in errors.items() if label.startswith("float32")
    }
    noise = errors["noise: verl in bfloat16 against verl in float32"]
    bounds["bfloat16 against verl in float32"] = {
        name: (LOSS_NOISE_BOUND if name == "loss" else NOISE_BOUND) * error for name, error in noise.items()
    }
    return [
        f"{label}: {name} {errors[label][name]:.1e}, at most {bound:.1e} is allowed"
        for label, allowed in bounds.items()
        for name, bound in allowed.items()
        if not errors[label][name] <= bound
    ]


def table(errors: Iterable[tuple[str, dict[str, float]]]) -> Iterator[str]:
    """A Markdown table of `worst_errors`, line by line as they are found."""
    yield "| numbers | log-probs | entropies | loss | gradients | weights |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for label, worst in errors:
        yield f"| {label} | {' | '.join(f'{error:.1e}' for error in worst.values())} |"
