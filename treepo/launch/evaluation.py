"""The launch of an evaluation, and its dry run."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from treepo.config.load import adopt_environment, hydra_quote
from treepo.evaluation.ask.model_folder import find_model
from treepo.evaluation.ask.setup import check
from treepo.evaluation.config import compose_evaluation, settle
from treepo.launch.cluster import detect
from treepo.launch.dry_run import dry_run
from treepo.launch.nodes.job import Job, Launch
from treepo.launch.nodes.ray_node import Resources, check_folder
from treepo.launch.nodes.run import run
from treepo.launch.options import Options, with_nodes
from treepo.start.accelerators import check_evaluation_node
from treepo.start.memory.engine import describe_servers
from treepo.start.memory.model_shape import read_shape

VARIABLES = {
    "MODEL_PATH": "evaluation.model",
    "BENCHMARKS": "evaluation.benchmarks",
    "DATA_DIR": "evaluation.data_dir",
    "N": "evaluation.n",
    "TEMPERATURE": "evaluation.temperature",
    "TOP_P": "evaluation.top_p",
    "TOP_K": "evaluation.top_k",
    "MAX_PROMPT_LENGTH": "evaluation.prompt_length",
    "MAX_RESPONSE_LENGTH": "evaluation.response_length",
    "SAMPLING": "evaluation.sampling",
    "DIVERGENCES": "evaluation.divergences",
    "SEED": "evaluation.seed",
    "SEEDS": "evaluation.seeds",
    "LOG_PROBS": "evaluation.log_probs",
    "TP_SIZE": "evaluation.tensor_parallel_size",
    "DP_SIZE": "evaluation.data_parallel_size",
    "ACCELERATORS": "evaluation.accelerators_per_node",
    "GPU_MEMORY_UTILIZATION": "evaluation.gpu_memory_utilization",
    "OUTPUT": "run_dir",
}
"""Environment variables that stand for options; what is typed wins over them."""

_TEXTS = ("MODEL_PATH", "DATA_DIR", "OUTPUT")
_LISTS = ("BENCHMARKS", "DIVERGENCES")


def launch_evaluation(options: Options, command: tuple[str, ...]) -> int:
    """Launches an evaluation; this node's part of it.

    Args:
        options: The launcher's options; environment variables that stand for options come before its overrides.
        command: The evaluation's command; it takes ``--preset``, ``--config-dir``, ``--check`` and overrides.

    Returns:
        The exit status, the same on every node.

    Raises:
        ConfigError: Something is refused.
    """
    _say_variables()
    return run(prepare(options, command, os.environ)[0])


def check_evaluation(options: Options, *, model_shape: str | None, accelerator_gib: float) -> int:
    """Prints what would be launched: its configuration and expected memory, and what its own checks say of it.

    Args:
        options: The launcher's options.
        model_shape: The model's sizes where it is not at hand: the path of a ``config.json``, or ``name=number,...``.
        accelerator_gib: Memory of one accelerator, in GiB.

    Returns:
        The exit status: 0 the evaluation would start, 2 it would be refused.

    Raises:
        ConfigError: The configuration does not compose.
    """
    _say_variables()
    _, config = prepare(options, (), os.environ, starts=False)

    def memory() -> str:
        folder = Path(str(config.evaluation.model)).expanduser()
        if model_shape is None and folder.is_dir():
            source = find_model(str(folder))
            folder = source.folder if source.shards is None else source.shards / "huggingface"
        return describe_servers(config, read_shape(folder, model_shape), accelerator_gib=accelerator_gib)

    return dry_run(config, check=lambda: _check(config), memory=memory)


def prepare(
    options: Options, command: tuple[str, ...], environment: Mapping[str, str], *, starts: bool = True
) -> tuple[Launch, DictConfig]:
    """Composes the configuration and finds this node's place.

    Args:
        options: The launcher's options.
        command: The evaluation's command.
        environment: The environment variables.
        starts: Whether the evaluation is started; a dry run needs no scheduler for its nodes.

    Returns:
        The launch, and the configuration, resolved.

    Raises:
        ConfigError: Something is refused.
    """
    cluster = detect(environment)
    overrides = [*from_environment(environment), *options.overrides]
    config = compose_evaluation(options.preset, overrides, config_dir=options.config_dir)
    nodes = config.evaluation.nodes
    overrides = with_nodes(overrides, cluster, option="evaluation.nodes", value=nodes, dry_run=not starts)
    config = compose_evaluation(options.preset, overrides, config_dir=options.config_dir)
    settle(config)
    job = Job(
        kind="evaluation",
        log="evaluation.log",
        command=options.command(command, overrides),
        resources=Resources.of(config.ray_kwargs.ray_init),
        accelerators=config.actor_rollout_ref.rollout.n_gpus_per_node,
        accelerators_option="evaluation.accelerators_per_node",
        run_dir=Path(config.run_dir),
        checkpoints=None,
        check_node=lambda: check_evaluation_node(config, alone=cluster.nodes == 1),
    )
    return Launch(job=job, cluster=cluster, limits=options.limits), config


def from_environment(environment: Mapping[str, str]) -> list[str]:
    """The overrides that environment variables stand for; lists are separated by commas or blanks."""
    overrides = []
    for name, option in VARIABLES.items():
        value = environment.get(name, "").strip()
        if not value:
            continue
        if name in _LISTS:
            words = value.strip("[]").replace(",", " ").split()
            value = f"[{','.join(map(hydra_quote, words))}]" if name == "BENCHMARKS" else f"[{','.join(words)}]"
        elif name in _TEXTS:
            value = hydra_quote(value)
        overrides.append(f"{option}={value}")
    return overrides


def _say_variables() -> None:
    if found := from_environment(os.environ):
        sys.stdout.write(f"from the environment: {' '.join(found)}\n")
        sys.stdout.flush()


def _check(config: DictConfig) -> tuple[str, ...]:
    check_folder(os.environ)
    # As in the job itself.
    adopt_environment(config)
    setup = check(config)
    sys.stdout.write(f"\n{setup.servers} servers, {setup.prompts_in_flight} prompts in flight\n")
    return setup.warnings
