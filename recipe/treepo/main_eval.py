"""Evaluates a model: ``python -m recipe.treepo.main_eval --config-name PRESET [option=value ...]``.

The configuration is composed by Hydra from ``configs/evaluation`` and checked whole before Ray or any other process
starts. The same command goes on where a run was ended.
"""

import argparse
import os
import sys
from pathlib import Path

from omegaconf import OmegaConf
from rich.console import Console

from treepo.config import ConfigError
from treepo.config.load import adopt_environment
from treepo.evaluation.ask.setup import Setup, check
from treepo.evaluation.ask.work import EvaluationError
from treepo.evaluation.config import compose_evaluation
from treepo.evaluation.show.console import show_table
from treepo.evaluation.show.tables import run_tables
from treepo.processes import outlive_readers, signals_interrupt
from treepo.start.socket_paths import check_ray_folder

_FAILED, _REFUSED, _INTERRUPTED = 1, 2, 130


def main(arguments: list[str] | None = None) -> int:
    """Composes, checks and evaluates.

    Args:
        arguments: The command line, without the program's name; None for the process's own.

    Returns:
        The exit status: 0 evaluated (or nothing to refuse), 1 failed, or some prompts did, 2 refused, 130 interrupted.
    """
    options = _parser().parse_intermixed_args(arguments)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    try:
        limit = [] if options.limit is None else [f"evaluation.max_questions={options.limit}"]
        config = compose_evaluation(options.config_name, [*limit, *options.overrides], config_dir=options.config_dir)
        if options.cfg == "job":
            sys.stdout.write(OmegaConf.to_yaml(config))
            return 0
        setup = check(config)
        for warning in setup.warnings:
            console.print(f"warning: {warning}")
        return 0 if options.check else _evaluate(setup, console)
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return _REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m recipe.treepo.main_eval", description="Evaluates a model.")
    parser.add_argument("--config-name", "-cn", default="avg16", help="a preset in configs/evaluation/")
    parser.add_argument("--config-dir", "-cd", type=Path, default=None, help="a folder with presets of your own")
    parser.add_argument("--cfg", "-c", choices=["job"], help="print the composed configuration and stop")
    parser.add_argument("--check", action="store_true", help="check the configuration and stop")
    parser.add_argument("--limit", type=int, metavar="N", help="short for evaluation.max_questions=N: a smoke run")
    parser.add_argument("overrides", nargs="*", help="option=value, as in evaluation.n=32")
    return parser


def _evaluate(setup: Setup, console: Console) -> int:
    adopt_environment(setup.config)
    if OmegaConf.select(setup.config, "ray_kwargs.ray_init.address") == "local":
        check_ray_folder(os.environ, "RAY_TMPDIR", "TMPDIR", below="ray")
    # Only now: verl takes seconds to import, and looks for its platform then.
    from ray.exceptions import RayError

    from treepo.verl.serving.evaluation_job import run_evaluation

    folder = setup.config.run_dir
    try:
        # Before and after the generation, which notices signals itself.
        with signals_interrupt():
            outcome = run_evaluation(setup, console)
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; the same command goes on where it was: {folder}\n")
        return _INTERRUPTED
    except (EvaluationError, RayError) as error:
        sys.stderr.write(f"{error}\nerror: the evaluation failed; the same command goes on where it was: {folder}\n")
        return _FAILED
    for table in run_tables(outcome.report.summary, outcome.report.arms, ())[:2]:
        show_table(console, table)
    console.print(f"report: {outcome.report.page}")
    if outcome.failures:
        sys.stderr.write(f"error: {len(outcome.failures)} prompts failed; the same command asks them again\n")
        return _FAILED
    return 0


if __name__ == "__main__":
    outlive_readers()
    sys.exit(main())
