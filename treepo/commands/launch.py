"""``treepo launch``: a training or an evaluation on one node or many."""

import sys
from collections.abc import Sequence

import typer

from treepo.commands import options as given
from treepo.launch.nodes.job import Limits
from treepo.launch.options import Options

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, help="Launches a training or an evaluation on one node or many."
)

_NODES = """
On many nodes give every node the same command. Nodes, rank and the head's address come from the variables of torchrun,
Slurm, MPI, Volcano or SkyPilot; TREEPO_NNODES, TREEPO_NODE_RANK, TREEPO_HEAD and TREEPO_PORT win over them.
"""
TREEPO = (sys.executable, "-m", "treepo")
"""What runs the job, which is a command of its own."""

_LIMITS = Limits()


@app.command("train", epilog=_NODES)
def launch_training(
    overrides: given.Overrides = None,
    preset: given.TrainingPreset = "treepo_trainer",
    config_dir: given.ConfigDir = None,
    model: given.TrainingModel = None,
    train: given.TrainFiles = None,
    val: given.HeldOutFiles = None,
    accept_changes: given.AcceptChanges = False,
    dry_run: given.DryRun = False,
    model_shape: given.ModelShape = None,
    accelerator_gib: given.AcceleratorGib = 80.0,
    join_limit: given.JoinLimit = _LIMITS.join,
    lost_limit: given.LostLimit = _LIMITS.lost,
    stop_limit: given.StopLimit = _LIMITS.stop,
) -> int:
    """Launches a training on one node or many.

    It checks the configuration, makes a Ray cluster, trains, and leaves no process behind.
    """
    from treepo.launch import training

    options = Options(
        preset=preset,
        overrides=(*training_overrides(model, train, val), *(overrides or ())),
        config_dir=config_dir,
        accept_changes=accept_changes,
        limits=Limits(join=join_limit, lost=lost_limit, stop=stop_limit),
    )
    if dry_run:
        return training.check_training(options, model_shape=model_shape, accelerator_gib=accelerator_gib)
    return training.launch_training(options, (*TREEPO, "train"))


@app.command("eval", epilog=_NODES)
def launch_evaluation(
    overrides: given.Overrides = None,
    preset: given.EvaluationPreset = "avg16",
    config_dir: given.ConfigDir = None,
    model: given.EvaluatedModel = None,
    benchmark: given.Benchmarks = None,
    limit: given.Limit = None,
    template: given.Template = None,
    sampling: given.Sampling = None,
    divergence: given.Divergences = None,
    dry_run: given.DryRun = False,
    model_shape: given.ModelShape = None,
    accelerator_gib: given.AcceleratorGib = 80.0,
    join_limit: given.JoinLimit = _LIMITS.join,
    lost_limit: given.LostLimit = _LIMITS.lost,
    stop_limit: given.StopLimit = _LIMITS.stop,
) -> int:
    """Launches an evaluation on one node or many.

    Environment variables stand for options, and what is typed wins over them: MODEL_PATH, BENCHMARKS, DATA_DIR, N,
    TEMPERATURE, TOP_P, TOP_K, MAX_PROMPT_LENGTH, MAX_RESPONSE_LENGTH, SAMPLING, DIVERGENCES, SEED, SEEDS, LOG_PROBS,
    TP_SIZE, DP_SIZE, ACCELERATORS, GPU_MEMORY_UTILIZATION, OUTPUT.
    """
    from treepo.launch import evaluation

    options = Options(
        preset=preset,
        overrides=(
            *evaluation_overrides(model, benchmark, limit, template, sampling, divergence),
            *(overrides or ()),
        ),
        config_dir=config_dir,
        limits=Limits(join=join_limit, lost=lost_limit, stop=stop_limit),
    )
    if dry_run:
        return evaluation.check_evaluation(options, model_shape=model_shape, accelerator_gib=accelerator_gib)
    return evaluation.launch_evaluation(options, (*TREEPO, "eval"))


def training_overrides(model: str | None, train: Sequence[str] | None, held_out: Sequence[str] | None) -> list[str]:
    """The overrides that the short forms of a training stand for."""
    from treepo.config.load import hydra_quote

    words = [f"actor_rollout_ref.model.path={hydra_quote(model)}"] if model else []
    for files, option in ((train, "train_files"), (held_out, "val_files")):
        if files:
            words.append(f"data.{option}=[{','.join(map(hydra_quote, files))}]")
    return words


def evaluation_overrides(
    model: str | None = None,
    benchmarks: Sequence[str] | None = None,
    limit: int | None = None,
    template: str | None = None,
    sampling: str | None = None,
    divergences: Sequence[str] | None = None,
) -> list[str]:
    """The overrides that the short forms of an evaluation stand for."""
    from treepo.config.load import hydra_quote

    words = [f"evaluation.model={hydra_quote(model)}"] if model else []
    if benchmarks:
        words.append(f"evaluation.benchmarks=[{','.join(map(hydra_quote, benchmarks))}]")
    if limit is not None:
        words.append(f"evaluation.max_questions={limit}")
    if template:
        words.append(f"evaluation.prompt_template={hydra_quote(template)}")
    if sampling:
        words.append(f"evaluation.sampling={sampling}")
    if divergences:
        words.append(f"evaluation.divergences=[{','.join(divergences)}]")
    return words
