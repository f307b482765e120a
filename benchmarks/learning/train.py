"""One training of the study, in a process of its own: ``python -m benchmarks.learning.train INDEPENDENT|TREE ...``.

The launcher of the recipe, but for two things: independent samples are trained by verl's own trainer, and a machine
that is taken is waited for.
"""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import ray
from omegaconf import DictConfig

from benchmarks.learning.study import PRESET, Sampling
from treepo.config import ConfigError
from treepo.config.load import compose, resolve
from treepo.start.checks import check
from treepo.verl.host_lock import sole_private_cluster

_WAIT_SECONDS = 300.0
_POLL_SECONDS = 2.0


def main(arguments: list[str]) -> None:
    """Composes, checks and trains.

    Args:
        arguments: Where the trajectories come from, then overrides of the preset.

    Raises:
        ConfigError: The configuration is refused, or another training kept the machine.
    """
    sampling, overrides = Sampling(arguments[0]), arguments[1:]
    config = compose(PRESET, overrides)
    resolve(config)
    check(config)
    with sole_cluster_when_free():
        _train(config, sampling)


@contextmanager
def sole_cluster_when_free(*, limit: float = _WAIT_SECONDS, poll: float = _POLL_SECONDS) -> Iterator[None]:
    """Holds the machine's only private cluster, after waiting for it where another training has it.

    Args:
        limit: Seconds to wait at most.
        poll: Seconds between two looks.

    Raises:
        ConfigError: It was not free in time.
    """
    deadline = time.monotonic() + limit
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(sole_private_cluster())
                break
            except ConfigError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(poll)
        yield


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
