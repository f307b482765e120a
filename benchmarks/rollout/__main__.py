"""Measures how fast trees grow, the arms side by side on one engine.

    python -m benchmarks.rollout                     # the small shape on a CPU, every law of lengths
    python -m benchmarks.rollout --profile sweeps
    python -m benchmarks.rollout --profile quickstart
    python -m benchmarks.rollout --profile gpu       # Qwen2.5-7B's shape without weights

Every number of a profile's cells can be overridden, to size a run:

    python -m benchmarks.rollout --model qwen2_5_0_5b --device cuda --width 64 --prompts 256 --lengths lognormal:0.3
"""

import asyncio
import json
import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.rollout.cell import Arm, Cell, Measured
from benchmarks.rollout.lengths import law
from benchmarks.rollout.profiles import PROFILES, Profile
from benchmarks.rollout.table import plot_occupancy, plot_sweep, table

app = typer.Typer(add_completion=False)


@app.command()
def main(
    profile: Annotated[str, typer.Option(help=f"one of {', '.join(PROFILES)}")] = "small",
    arms: Annotated[str, typer.Option(help="arms, separated by commas")] = "independent,lockstep,portable,in_engine",
    repeats: Annotated[
        int, typer.Option(min=1, help="measurements per arm and cell; the run begins with a warm-up")
    ] = 3,
    output: Annotated[Path, typer.Option(help="folder of tables, plots and raw numbers")] = Path("outputs/rollout"),
    models: Annotated[Path, typer.Option(help="folder of models")] = Path(".cache/rollout"),
    seed: int = 0,
    model: Annotated[str | None, typer.Option(help="a shape, quickstart, or a folder with a config.json")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda")] = None,
    prompts: int | None = None,
    prompt_length: int | None = None,
    width: int | None = None,
    segment_length: int | None = None,
    max_depth: int | None = None,
    max_divergence: int | None = None,
    budget: str | None = None,
    lengths: str | None = None,
    slots: int | None = None,
    override: Annotated[list[str] | None, typer.Option(help="a Hydra override of the engine's settings")] = None,
) -> None:
    """Measures a profile and writes ``rollout.md``, ``runs.jsonl`` and plots."""
    if profile not in PROFILES:
        raise typer.BadParameter(f"{profile} is not a profile; there are {', '.join(PROFILES)}")
    changes = {
        name: value
        for name, value in {
            "prompts": prompts,
            "prompt_length": prompt_length,
            "width": width,
            "segment_length": segment_length,
            "max_depth": max_depth,
            "max_divergence": max_divergence,
            "budget": budget,
            "lengths": lengths,
            "slots": slots,
        }.items()
        if value is not None
    }
    chosen = PROFILES[profile]
    chosen = Profile(
        model=model or chosen.model,
        device=device or chosen.device,
        cells=tuple(dict.fromkeys(replace(cell, **changes) for cell in chosen.cells)),
        sweeps={
            axis: {value: replace(cell, **changes) for value, cell in sweep.items()}
            for axis, sweep in chosen.sweeps.items()
        },
    )
    try:
        wanted = [Arm(name) for name in arms.split(",")]
        for cell in chosen.everything:
            law(cell.lengths, cell.longest)
    except ValueError as error:
        # Before the engine starts, which takes a minute.
        raise typer.BadParameter(str(error)) from error
    _measure(chosen, wanted, repeats, seed, output, models, override or [])


def _measure(
    profile: Profile, arms: list[Arm], repeats: int, seed: int, output: Path, models: Path, overrides: list[str]
) -> None:
    # Chosen before anything imports verl.
    if profile.device == "cpu":
        os.environ |= {
            "VERL_PLATFORM": "cpu",
            "VERL_ENGINE_DEVICE": "cuda",
            "VERL_USE_EXTERNAL_MODULES": "treepo.verl.cpu",
        }
    from benchmarks.rollout.engine import running_engine
    from benchmarks.rollout.run import measure

    console = Console(width=120)
    output.mkdir(parents=True, exist_ok=True)
    cells = profile.everything
    if len({cell.slots for cell in cells}) > 1:
        raise typer.BadParameter("all cells of a profile share one engine, and so its sequence slots")
    blocks: list[str] = []
    found: dict[Cell, dict[Arm, list[Measured]]] = {}
    with (
        (output / "runs.jsonl").open("w", encoding="utf-8") as raw,
        running_engine(
            model=profile.model,
            device=profile.device,
            slots=max(cell.slots for cell in cells),
            longest=max(cell.prompt_length + cell.longest for cell in cells) + 128,
            interval=math.gcd(*(cell.segment_length for cell in cells)),
            folder=models,
            overrides=overrides,
            console=console,
        ) as engine,
    ):
        for place, cell in enumerate(cells, 1):
            console.print(f"[{place}/{len(cells)}] {cell.title}")

            def progress(arm: Arm, repeat: int, measured: Measured, cell: Cell = cell) -> None:
                speed = measured.trajectories / measured.seconds
                console.print(f"    {arm:14} {measured.seconds:7.2f} s  {speed:7.1f} trajectories/s", highlight=False)
                raw.write(json.dumps({"cell": asdict(cell), "arm": arm, "repeat": repeat, **asdict(measured)}) + "\n")
                raw.flush()

            found[cell] = asyncio.run(
                measure(engine, cell, arms, repeats=repeats, warm_up=place == 1, seed=seed, progress=progress)
            )
            blocks.append(table(cell, found[cell], engine.block_size))
            console.print(blocks[-1], highlight=False, soft_wrap=True)
            plot_occupancy(output / f"occupancy-{place}.png", cell, found[cell])
            (output / "rollout.md").write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    for axis, sweep in profile.sweeps.items():
        name = axis.replace(" ", "-")
        plot_sweep(output / f"sweep-{name}.png", axis, list(sweep), [found[cell] for cell in sweep.values()])
    console.print(f"tables, plots and raw numbers: {output}")


if __name__ == "__main__":
    app()
