"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from treepo.config import ConfigError
from treepo.config.presets import CONFIG_DIR


def _preset(folder: Path) -> Any:
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    return typer.Option(
        "--preset",
        "--config-name",
        "-cn",
        metavar="NAME",
        autocompletion=lambda: names,
        help=f"one of {', '.join(names)}, or of your own folder",
    )


def _above_zero(parameter: typer.CallbackParam, value: float) -> float:
    if value <= 0:
        raise ConfigError(f"{parameter.opts[0]} must be above 0")
    return value


TrainingPreset = Annotated[str, _preset(CONFIG_DIR)]
EvaluationPreset = Annotated[str, _preset(CONFIG_DIR / "evaluation")]
ConfigDir = Annotated[
    Path | None, typer.Option("--config-dir", "-cd", metavar="FOLDER", help="a folder with presets of your own")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[OPTION=VALUE]...", help="any option of TreePO or verl, as Hydra writes it"),
]
ExampleOverrides = Annotated[
    list[str] | None, typer.Argument(metavar="[OPTION=VALUE]...", help="handed to the training")
]
ExampleSeed = Annotated[int, typer.Option("--seed", min=0, help="seed of the training: data order and trees")]
PrintConfig = Annotated[
    Literal["job"] | None, typer.Option("--cfg", "-c", help="print the composed configuration and stop")
]
OnlyCheck = Annotated[bool, typer.Option("--check", help="check the configuration and stop")]
AcceptChanges = Annotated[bool, typer.Option("--accept-changes", help="resume a run that had other options")]

TrainingModel = Annotated[
    str | None, typer.Option("--model", metavar="FOLDER", help="short for actor_rollout_ref.model.path=...")
]
TrainFiles = Annotated[
    list[str] | None, typer.Option("--train", metavar="FILE", help="short for data.train_files; may be repeated")
]
HeldOutFiles = Annotated[
    list[str] | None, typer.Option("--val", metavar="FILE", help="short for data.val_files; may be repeated")
]
EvaluatedModel = Annotated[str | None, typer.Option("--model", metavar="MODEL", help="short for evaluation.model=...")]
Benchmarks = Annotated[
    list[str] | None,
    typer.Option("--benchmark", metavar="NAME", help="a set or a parquet file; may be repeated"),
]
Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", help="short for evaluation.max_questions=N: a smoke run")
]
Template = Annotated[
    str | None,
    typer.Option(
        "--template",
        metavar="TEMPLATE",
        help="short for evaluation.prompt_template=...: ours, qwen, final_answer, none, or a file",
    ),
]
Sampling = Annotated[
    str | None,
    typer.Option("--sampling", metavar="HOW", help="short for evaluation.sampling=...: independent, tree, both"),
]
Divergences = Annotated[
    list[str] | None, typer.Option("--divergence", metavar="D", help="of the trees; may be repeated")
]

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="print the configuration and the memory it expects, check, and stop")
]
ModelShape = Annotated[
    str | None,
    typer.Option(
        "--model-shape",
        metavar="SHAPE",
        help="for the memory, without the model: the path of a config.json, or hidden_size=...,...",
    ),
]
AcceleratorGib = Annotated[
    float, typer.Option("--accelerator-gib", metavar="GIB", callback=_above_zero, help="memory of one accelerator")
]
JoinLimit = Annotated[
    float, typer.Option("--join-limit", metavar="S", callback=_above_zero, help="seconds for all nodes to come")
]
LostLimit = Annotated[
    float, typer.Option("--lost-limit", metavar="S", callback=_above_zero, help="seconds of a node's silence")
]
StopLimit = Annotated[
    float, typer.Option("--stop-limit", metavar="S", callback=_above_zero, help="seconds for processes to end")
]
