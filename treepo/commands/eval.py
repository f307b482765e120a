"""``treepo eval``: the evaluation itself, as the launcher and Ray's own commands run it."""

import os
import sys

import typer

from treepo.commands.options import ConfigDir, EvaluationPreset, Limit, OnlyCheck, Overrides, PrintConfig

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_FAILED, _INTERRUPTED = 1, 130


@app.command()
def evaluate(
    overrides: Overrides = None,
    preset: EvaluationPreset = "avg16",
    config_dir: ConfigDir = None,
    cfg: PrintConfig = None,
    check: OnlyCheck = False,
    limit: Limit = None,
) -> int:
    """Evaluates a model in a Ray cluster: one that runs already, or its own on this machine.

    The configuration is checked whole before Ray or any other process starts. The same command resumes where a run was
    ended, and asks the prompts again that failed.
    """
    from omegaconf import OmegaConf
    from rich.console import Console

    from treepo.config.load import adopt_environment
    from treepo.evaluation.ask.setup import check as check_evaluation
    from treepo.evaluation.ask.work import EvaluationError
    from treepo.evaluation.config import compose_evaluation
    from treepo.evaluation.show.console import show_table
    from treepo.evaluation.show.tables import run_tables
    from treepo.processes import signals_interrupt
    from treepo.start.accelerators import check_evaluation_node
    from treepo.start.machine import check_ray_folder

    first = [] if limit is None else [f"evaluation.max_questions={limit}"]
    config = compose_evaluation(preset, [*first, *(overrides or [])], config_dir=config_dir)
    if cfg:
        sys.stdout.write(OmegaConf.to_yaml(config))
        return 0
    console = Console(highlight=False, soft_wrap=True, markup=False)
    setup = check_evaluation(config)
    for warning in setup.warnings:
        console.print(f"warning: {warning}")
    if check:
        return 0
    adopt_environment(setup.config)
    if OmegaConf.select(setup.config, "ray_kwargs.ray_init.address") == "local":
        check_ray_folder(os.environ, "RAY_TMPDIR", "TMPDIR", below="ray")
        check_evaluation_node(setup.config, alone=setup.config.evaluation.nodes == 1)
    # Only now: verl takes seconds to import, and looks for its platform then.
    from treepo.verl.serving.evaluation_job import run_evaluation

    folder = setup.config.run_dir
    try:
        # Before and after the generation, which notices signals itself.
        with signals_interrupt():
            outcome = run_evaluation(setup, console)
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; the same command resumes where it was: {folder}\n")
        return _INTERRUPTED
    except EvaluationError as error:
        sys.stderr.write(f"{error}\nerror: the evaluation failed; the same command resumes where it was: {folder}\n")
        return _FAILED
    for table in run_tables(outcome.report.summary, outcome.report.arms, ())[:2]:
        show_table(console, table)
    console.print(f"report: {outcome.report.page}")
    if outcome.failures:
        sys.stderr.write(f"error: {len(outcome.failures)} prompts failed; the same command asks them again\n")
        return _FAILED
    return 0
