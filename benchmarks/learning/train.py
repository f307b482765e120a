"""One training of the study, in a process of its own: ``python -m benchmarks.learning.train INDEPENDENT|TREE ...``.

The launcher of the recipe, but for one thing: independent samples are trained by verl's own trainer.
"""

import signal
import sys

import ray
from omegaconf import DictConfig

from benchmarks.learning.arms import Sampling
from benchmarks.learning.study import PRESET
from treepo.config.load import adopt_environment, compose, resolve
from treepo.start.checks import check


def main(arguments: list[str]) -> None:
    """Composes, checks and trains.

    Args:
        arguments: Where the trajectories come from, then overrides of the preset.

    Raises:
        ConfigError: The configuration is refused.
    """
    sampling, overrides = Sampling(arguments[0]), arguments[1:]
    config = compose(PRESET, overrides)
    resolve(config)
    adopt_environment(config)
    check(config)
    _train(config, sampling)


def _train(config: DictConfig, sampling: Sampling) -> None:
    from verl.trainer.main_ppo import run_ppo

    if sampling is Sampling.TREE:
        from treepo.verl.training.task_runner import TreeTaskRunner as Runner
    else:
        from benchmarks.learning.stock import StockTaskRunner as Runner
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run_ppo(config, task_runner_class=ray.remote(Runner))
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
