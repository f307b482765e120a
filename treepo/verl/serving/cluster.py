"""The Ray cluster of an evaluation, and what its processes say where it fails."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from omegaconf import DictConfig, OmegaConf
from verl.trainer.constants_ppo import get_ppo_ray_runtime_env

# At the start of a line, or behind what vLLM's processes and loggers put before it.
_ERROR = re.compile(r"(?:^|[\])] )((?:\w+\.)*\w*(?:Error|Exception): .+)$", re.MULTILINE)
_MOST_ERRORS = 3


@contextmanager
def ray_cluster(config: DictConfig) -> Iterator[Path]:
    """Joins or starts the Ray cluster that a configuration names, and leaves or ends it.

    The output of its processes goes to no terminal: there are dozens of them, and each repeats its libraries' warnings.

    Yields:
        The folder of that output on this machine; it stays.
    """
    runtime = OmegaConf.merge(get_ppo_ray_runtime_env(), config.ray_kwargs.ray_init.runtime_env)
    options: Any = OmegaConf.to_container(config.ray_kwargs.ray_init, resolve=True)
    given = {name: value for name, value in options.items() if value is not None}
    given["runtime_env"] = OmegaConf.to_container(runtime, resolve=True)
    context: Any = ray.init(**given, log_to_driver=False)
    try:
        yield Path(context.address_info["session_dir"]) / "logs"
    finally:
        ray.shutdown()


def first_errors(logs: Path) -> list[str]:
    """The first error of each of Ray's workers, the oldest output first: the causes of one that says to look above it.

    Args:
        logs: The folder that `ray_cluster` gives.

    Returns:
        At most three, each once.
    """
    files = sorted(logs.glob("worker-*"), key=lambda path: path.stat().st_mtime)
    found = [match[1] for path in files if (match := _ERROR.search(path.read_text(errors="replace")))]
    return list(dict.fromkeys(found))[:_MOST_ERRORS]
