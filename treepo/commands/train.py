"""``treepo train``: the training itself, as the launcher and Ray's own commands run it."""

import os
import sys
from pathlib import Path

import typer

from treepo.commands.options import AcceptChanges, ConfigDir, OnlyCheck, Overrides, PrintConfig, TrainingPreset

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_FAILED, _INTERRUPTED = 1, 130


@app.command()
def train(
    overrides: Overrides = None,
    preset: TrainingPreset = "treepo_trainer",
    config_dir: ConfigDir = None,
    cfg: PrintConfig = None,
    check: OnlyCheck = False,
    accept_changes: AcceptChanges = False,
) -> int:
    """Trains in a Ray cluster: one that runs already, or its own on this machine.

    The configuration is checked whole before Ray or any other process starts. The same command resumes from the last
    checkpoint.
    """
    from omegaconf import OmegaConf

    from treepo.config.load import adopt_environment, compose, resolve

    config = compose(preset, overrides or [], config_dir=config_dir)
    if cfg:
        sys.stdout.write(OmegaConf.to_yaml(config))
        return 0
    resolve(config)
    adopt_environment(config)
    # Only now: verl takes seconds to import, and a misspelt option should not wait for it.
    from treepo.files.sole_training import sole_training
    from treepo.start.accelerators import check_training_node
    from treepo.start.checks import check as check_training
    from treepo.start.machine import check_ray_folder
    from treepo.start.resumption import begin, find_checkpoint, nothing_left, nothing_trained

    for warning in check_training(config, accept_changes=accept_changes):
        sys.stderr.write(f"warning: {warning}\n")
    if (done := nothing_left(config)) is not None:
        sys.stdout.write(f"{done}\n")
    if done is not None or check:
        return 0
    if OmegaConf.select(config, "ray_kwargs.ray_init.address") == "local":
        check_ray_folder(os.environ, "RAY_TMPDIR", "TMPDIR", below="ray")
        check_training_node(config, alone=config.trainer.nnodes == 1)
    with sole_training(Path(config.run_dir)):
        from treepo.verl.training.task_runner import TrainingError, run_training

        before = find_checkpoint(config)
        if (aside := begin(config)) is not None:
            sys.stderr.write(f"warning: {aside}\n")
        try:
            run_training(config)
        except KeyboardInterrupt:
            sys.stderr.write(f"interrupted; the same command resumes from the last checkpoint in {config.run_dir}\n")
            return _INTERRUPTED
        except TrainingError as error:
            sys.stderr.write(
                f"{error}\nerror: training failed; the cause is printed above, logs are in {config.run_dir}\n"
            )
            return _FAILED
        if (done := nothing_trained(config, before)) is not None:
            sys.stdout.write(f"{done}\n")
    return 0
