"""Measures what packing saves: old log-probs and updates of verl's own engine and the packed one, in turn.

python -m benchmarks.update                     # the small shape on a CPU, about 10 minutes
python -m benchmarks.update --profile gpu       # the shapes of Qwen2.5-0.5B, 1.5B and 7B without weights
python -m benchmarks.update --profile gpu_check # four layers of Qwen2.5-1.5B and Qwen3-1.7B, four cells
python -m benchmarks.update --model qwen2_5_0_5b --device cuda --width 16 --prompt-length 512 --ratio 0.4
python -m benchmarks.update step                # whole training steps: rollout, log-probs, update
"""

import json
import os
import platform
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.update.cell import Outcome
from benchmarks.update.profiles import PROFILES, RATIO, Profile, described
from benchmarks.update.table import goals, plot, record, table, too_far_apart

app = typer.Typer(add_completion=False, help=__doc__)
console = Console(width=120, highlight=False, soft_wrap=True, markup=False)


@app.callback(invoke_without_command=True)
def default(
    context: typer.Context,
    profile: Annotated[str, typer.Option(help=f"one of {', '.join(PROFILES)}")] = "small",
    repeats: Annotated[int, typer.Option(min=1, help="measurements of each part, engine and cell")] = 3,
    output: Annotated[Path, typer.Option(help="folder of tables, plot and raw numbers")] = Path("outputs/update"),
    seed: int = 0,
    threads: Annotated[int, typer.Option(min=1, help="threads of PyTorch on the CPU")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu or cuda")] = None,
    model: Annotated[str | None, typer.Option(help="a shape, or a folder with a model")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="layers, instead of the shape's")] = None,
    ratio: Annotated[float | None, typer.Option(min=0.05, max=1.0, help="distinct tokens over row tokens")] = None,
    width: Annotated[int | None, typer.Option(min=2, help="rows of a prompt")] = None,
    prompt_length: Annotated[int | None, typer.Option(min=1, help="tokens of a prompt")] = None,
) -> None:
    """Measures a profile and writes ``update.md``, ``update.png`` and ``cells.jsonl``.

    Fails where log-probs of the two engines differ by more than rounding.
    """
    if context.invoked_subcommand is not None:
        return
    if profile not in PROFILES:
        raise typer.BadParameter(f"{profile} is not a profile; there are {', '.join(PROFILES)}")
    chosen = PROFILES[profile]
    try:
        if any(value is not None for value in (ratio, width, prompt_length)):
            chosen = described(chosen, ratio=ratio, width=width, prompt_length=prompt_length)
        _run(
            chosen,
            models=(model,) if model else chosen.models,
            device=device or chosen.device,
            layers=layers if model else layers or chosen.layers,
            repeats=repeats,
            output=output,
            seed=seed,
            threads=threads,
        )
    except ValueError as error:
        console.print(f"error: {error}")
        raise typer.Exit(2) from error


@app.command()
def step(
    steps: Annotated[int, typer.Option(min=3, help="training steps of each arm; the first is not counted")] = 10,
    output: Annotated[Path, typer.Option(help="folder of the table and the runs")] = Path("outputs/update-step"),
    cache: Annotated[Path, typer.Option(help="where task and model are kept")] = Path(".cache/learning"),
    limit: Annotated[float, typer.Option(min=1, help="seconds that a run may take")] = 900.0,
) -> None:
    """Trains by verl alone, by trees, and by trees with packing: tokens and seconds by phase."""
    from benchmarks.update.step import measure_steps, step_table

    found = measure_steps(steps=steps, folder=output, cache=cache, limit=limit, console=console)
    text = step_table(found)
    output.mkdir(parents=True, exist_ok=True)
    (output / "step.md").write_text(text + "\n", encoding="utf-8")
    console.print(text)


def _run(
    profile: Profile,
    *,
    models: tuple[str, ...],
    device: str,
    layers: int | None,
    repeats: int,
    output: Path,
    seed: int,
    threads: int,
) -> None:
    # The spawned engines read it when they start.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    from benchmarks.update.arm import Setting
    from benchmarks.update.run import measure, running
    from benchmarks.update.shapes import model_folder

    output.mkdir(parents=True, exist_ok=True)
    cells = list(dict.fromkeys(cell for section in profile.sections.values() for cell in section))
    longest = max(cell.row_length for cell in cells)
    blocks: list[str] = []
    measured: list[list[Outcome]] = []
    plotted: dict[str, list[Outcome]] = {}
    with (output / "cells.jsonl").open("w", encoding="utf-8") as raw:
        for model in models:
            with ExitStack() as stack:
                scratch = Path(stack.enter_context(TemporaryDirectory()))
                folder = model_folder(model, folder=scratch, layers=layers, longest=longest)
                setting = Setting(model=folder, device=device, threads=threads, log=output / "logs")
                arms, attention = stack.enter_context(running(setting))
                where = _where(device, threads)
                blocks.append(f"{model}, {where}; " + ", ".join(f"{arm}: {name}" for arm, name in attention.items()))
                console.print(blocks[-1])

                def progress(outcome: Outcome, model: str = model) -> None:
                    raw.write(json.dumps({"model": model, **record(outcome)}) + "\n")
                    raw.flush()
                    console.print(table(outcome.cell.title, [outcome]))

                found = measure(arms, setting, cells, repeats=repeats, seed=seed, progress=progress)
            measured.append(found)
            by_cell = dict(zip(cells, found, strict=True))
            blocks += [table(name, [by_cell[cell] for cell in section]) for name, section in profile.sections.items()]
            blocks.append(goals(found))
            plotted[model] = [by_cell[cell] for cell in profile.sections.get(RATIO, cells)]
            (output / "update.md").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    plot(output / "update.png", plotted)
    console.print("\n\n".join(blocks))
    console.print(f"tables, plot and raw numbers: {output}")
    if lines := [line for found in measured for line in too_far_apart(found, device)]:
        console.print("\n".join(f"error: {line}" for line in lines))
        raise typer.Exit(1)


def _where(device: str, threads: int) -> str:
    import torch

    if device == "cuda":
        return f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}"
    return f"{platform.machine()} CPU, {threads} {'thread' if threads == 1 else 'threads'}, torch {torch.__version__}"


if __name__ == "__main__":
    app()
