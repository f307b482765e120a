"""Plans a training step on paper: GRPO, GRPO packed, trees by rows and packed, on a number of accelerators.

    python -m benchmarks.plan                                   # Qwen2.5-7B as published, on 8, 64 and 1,024 H100s
    python -m benchmarks.plan --model /path/to/model --gpus 8 --width 64 --lengths lognormal:0.3 --hardware h200

Trees are grown by the sampler, shared out, cut and laid out by the code that trains; lengths are drawn. FLOPs and bytes
follow from these counts; the seconds are bounds, at the hardware's peaks and with slots that are always full.
"""

import sys
from dataclasses import replace
from typing import Annotated

import typer

from benchmarks.plan.hardware import HARDWARE, MODELS, find_model
from benchmarks.plan.step import Setting, plan
from benchmarks.plan.table import tables
from benchmarks.rollout.cell import Cell
from treepo.config import ConfigError

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_PUBLISHED_GPUS, _PUBLISHED_PROMPTS, _PUBLISHED_MINI_BATCH = 64, 512, 32


@app.command()
def main(
    model: Annotated[
        str, typer.Option(help=f"one of {', '.join(MODELS)}, or a folder with a config.json")
    ] = "qwen2_5_7b",
    gpus: Annotated[str, typer.Option(help="numbers of accelerators, separated by commas")] = "8,64,1024",
    hardware: Annotated[str, typer.Option(help=f"one of {', '.join(HARDWARE)}")] = "h100",
    tflops: Annotated[float | None, typer.Option(help="peak of dense bfloat16 products, 10^12 per second")] = None,
    bandwidth: Annotated[float | None, typer.Option(help="of the memory, 10^12 bytes per second")] = None,
    link: Annotated[float | None, typer.Option(help="of one accelerator to others, 10^12 bytes per second")] = None,
    memory_gib: Annotated[float | None, typer.Option(help="of one accelerator")] = None,
    utilisation: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="share of the peak operations that kernels reach")
    ] = 1.0,
    prompts: Annotated[
        int | None, typer.Option(min=1, help="prompts of a step; default 512, in proportion beyond 64 accelerators")
    ] = None,
    mini_batch: Annotated[
        int | None, typer.Option(min=1, help="prompts of an update; default 32, in proportion beyond 64 accelerators")
    ] = None,
    width: Annotated[int, typer.Option(min=1)] = 16,
    segment_length: Annotated[int, typer.Option(min=1)] = 512,
    max_depth: Annotated[int, typer.Option(min=1)] = 14,
    max_divergence: Annotated[int, typer.Option(min=1)] = 2,
    budget: Annotated[str, typer.Option(help="fixed or ramp")] = "fixed",
    prompt_length: Annotated[int, typer.Option(min=1, help="mean of the prompts' tokens")] = 256,
    lengths: Annotated[str, typer.Option(help="law of response lengths: full, memoryless, lognormal:SPREAD")] = (
        "lognormal:0.5"
    ),
    slots: Annotated[int, typer.Option(min=1, help="sequences that an engine decodes at once, at most")] = 256,
    max_tokens: Annotated[int, typer.Option(min=1, help="tokens of a micro-batch")] = 16_384,
    reference: Annotated[bool, typer.Option(help="a reference model's log-probs, too")] = False,
    sample: Annotated[int, typer.Option(min=1, help="prompts that are grown, at most; the rest is in proportion")] = 32,
    seed: int = 0,
) -> None:
    """Prints two tables per number of accelerators: what is counted in a step, and what one accelerator does."""
    try:
        shape = find_model(model)
        if hardware not in HARDWARE:
            raise ConfigError(f"--hardware {hardware} is not known; there are {', '.join(HARDWARE)}")
        given = {"tflops": tflops, "bandwidth": bandwidth, "link": link, "memory_gib": memory_gib}
        machine = replace(HARDWARE[hardware], **{name: value for name, value in given.items() if value is not None})
        for count in _numbers(gpus):
            scale = max(1.0, count / _PUBLISHED_GPUS)
            cell = Cell(
                prompts=prompts or round(_PUBLISHED_PROMPTS * scale),
                prompt_length=prompt_length,
                width=width,
                segment_length=segment_length,
                max_depth=max_depth,
                max_divergence=max_divergence,
                budget=budget,
                lengths=lengths,
                slots=slots,
            )
            setting = Setting(
                cell=cell,
                gpus=count,
                mini_batch=mini_batch or min(cell.prompts, round(_PUBLISHED_MINI_BATCH * scale)),
                max_tokens=max_tokens,
                reference=reference,
                sample=sample,
                utilisation=utilisation,
                seed=seed,
            )
            sys.stdout.write(f"{tables(setting, machine, dict(plan(setting, shape, machine)))}\n")
            sys.stdout.flush()
    except (ConfigError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(2) from error


def _numbers(text: str) -> list[int]:
    counts = [int(word) if word.strip().isdecimal() else 0 for word in text.split(",")]
    if not all(counts):
        raise ConfigError(f"--gpus {text} is refused; give numbers above 0, separated by commas, as 8,64,1024")
    return counts


if __name__ == "__main__":
    app()
