"""Trains with TreePO: ``python -m recipe.treepo.main_treepo --config-name PRESET [option=value ...]``.

The configuration is composed by Hydra from ``configs/`` and checked whole before Ray or any other process starts.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from treepo.config import ConfigError
from treepo.config.load import adopt_environment, compose, resolve
from treepo.processes import outlive_readers, signals_interrupt
from treepo.start.socket_paths import check_ray_folder

_REFUSED = 2
_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Composes, checks and trains.

    Args:
        arguments: The command line, without the program's name; None for the process's own.

    Returns:
        The exit status: 0 trained (or nothing left to train, or to refuse), 1 failed, 2 refused before the start, 130
        interrupted.
    """
    options = _parser().parse_intermixed_args(arguments)
    try:
        config = compose(options.config_name, options.overrides, config_dir=options.config_dir)
        if options.cfg == "job":
            sys.stdout.write(OmegaConf.to_yaml(config))
            return 0
        resolve(config)
        adopt_environment(config)
        # Only now: verl takes seconds to import, and a misspelt option should not wait for it.
        from treepo.start.checks import check
        from treepo.start.resumption import nothing_left

        warnings = check(config, accept_changes=options.accept_changes)
        done = nothing_left(config)
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return _REFUSED
    for warning in warnings:
        sys.stderr.write(f"warning: {warning}\n")
    if done is not None:
        sys.stdout.write(f"{done}\n")
    if done is not None or options.check:
        return 0
    from treepo.start.sole_training import sole_training

    try:
        if OmegaConf.select(config, "ray_kwargs.ray_init.address") == "local":
            check_ray_folder(os.environ, "RAY_TMPDIR", "TMPDIR", below="ray")
        with sole_training(Path(config.run_dir)):
            return _train(config)
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return _REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m recipe.treepo.main_treepo", description="Trains with TreePO.")
    parser.add_argument("--config-name", "-cn", "--preset", default="treepo_trainer", help="a preset in configs/")
    parser.add_argument("--config-dir", "-cd", type=Path, default=None, help="a folder with presets of your own")
    parser.add_argument("--cfg", "-c", choices=["job"], help="print the composed configuration and stop")
    parser.add_argument("--check", action="store_true", help="check the configuration and stop")
    parser.add_argument("--accept-changes", action="store_true", help="go on with a run that had other options")
    parser.add_argument("overrides", nargs="*", help="option=value, as in treepo.max_divergence=3")
    return parser


def _train(config: DictConfig) -> int:
    import ray
    from ray.exceptions import RayError
    from verl.trainer.main_ppo import run_ppo

    from treepo.start.resumption import begin, find_checkpoint, nothing_trained
    from treepo.verl.training.task_runner import TreeTaskRunner

    before = find_checkpoint(config)
    if (aside := begin(config)) is not None:
        sys.stderr.write(f"warning: {aside}\n")
    try:
        # So that Ray takes its processes down.
        with signals_interrupt():
            run_ppo(config, task_runner_class=ray.remote(TreeTaskRunner))
    except (KeyboardInterrupt, SystemExit) as ended:
        # Ray's own handler of SIGTERM exits with the signal's number.
        if isinstance(ended, SystemExit) and ended.code != signal.SIGTERM:
            raise
        sys.stderr.write(f"interrupted; the same command resumes from the last checkpoint in {config.run_dir}\n")
        return _INTERRUPTED
    except RayError as error:
        sys.stderr.write(f"{error}\nerror: training failed; the cause is printed above, logs are in {config.run_dir}\n")
        return 1
    finally:
        ray.shutdown()
    if (done := nothing_trained(config, before)) is not None:
        sys.stdout.write(f"{done}\n")
    return 0


if __name__ == "__main__":
    outlive_readers()
    sys.exit(main())
