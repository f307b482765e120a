"""``treepo check``: what a launch would run, with the memory it expects, and whether it would be refused."""

import typer

from treepo.commands import options as given
from treepo.commands.launch import launch_evaluation, launch_training

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Checks a training or an evaluation and prints the memory it expects; starts nothing.",
)


@app.command("train")
def check_training(
    overrides: given.Overrides = None,
    preset: given.TrainingPreset = "treepo_trainer",
    config_dir: given.ConfigDir = None,
    model: given.TrainingModel = None,
    train: given.TrainFiles = None,
    val: given.HeldOutFiles = None,
    accept_changes: given.AcceptChanges = False,
    model_shape: given.ModelShape = None,
    accelerator_gib: given.AcceleratorGib = 80.0,
) -> int:
    """Prints a training's configuration and expected memory, and checks all that the training would check.

    The same as treepo launch train --dry-run. The exit status is 2 where the training would be refused.
    """
    return launch_training(
        overrides,
        preset,
        config_dir,
        model,
        train,
        val,
        accept_changes,
        dry_run=True,
        model_shape=model_shape,
        accelerator_gib=accelerator_gib,
    )


@app.command("eval")
def check_evaluation(
    overrides: given.Overrides = None,
    preset: given.EvaluationPreset = "avg16",
    config_dir: given.ConfigDir = None,
    model: given.EvaluatedModel = None,
    benchmark: given.Benchmarks = None,
    limit: given.Limit = None,
    template: given.Template = None,
    sampling: given.Sampling = None,
    divergence: given.Divergences = None,
    model_shape: given.ModelShape = None,
    accelerator_gib: given.AcceleratorGib = 80.0,
) -> int:
    """Prints an evaluation's configuration and expected memory, and checks all that the evaluation would check.

    The same as treepo launch eval --dry-run. The exit status is 2 where the evaluation would be refused.
    """
    return launch_evaluation(
        overrides,
        preset,
        config_dir,
        model,
        benchmark,
        limit,
        template,
        sampling,
        divergence,
        dry_run=True,
        model_shape=model_shape,
        accelerator_gib=accelerator_gib,
    )
