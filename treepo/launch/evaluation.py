"""The command line of the evaluation's launcher."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig

from treepo.config import ConfigError
from treepo.config.load import hydra_quote
from treepo.evaluation.ask.model_folder import find_model
from treepo.evaluation.ask.setup import check
from treepo.evaluation.config import PRESETS_DIR, compose_evaluation, settle
from treepo.launch.cluster import detect
from treepo.launch.dry_run import dry_run
from treepo.launch.nodes.job import Job, Launch
from treepo.launch.nodes.ray_node import Resources, check_folder
from treepo.launch.nodes.run import REFUSED, run
from treepo.launch.options import EPILOG, add_options, limits_of, preset_folder, with_nodes
from treepo.start.memory import describe_servers
from treepo.start.model_shape import read_shape

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


def main(job: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Launches an evaluation, or with ``--dry-run`` says what would be launched.

    Args:
        job: The evaluation's command; it takes ``--config-name``, ``--config-dir``, ``--check`` and overrides.
        arguments: The command line, without the program's name; None for the process's own.

    Returns:
        The exit status.
    """
    options = parser().parse_intermixed_args(arguments)
    try:
        if found := from_environment(os.environ):
            sys.stdout.write(f"from the environment: {' '.join(found)}\n")
            sys.stdout.flush()
        launch, config = prepare(options, job, os.environ)
        if not options.dry_run:
            return run(launch)
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return REFUSED
    return dry_run(config, check=lambda: _check(config), memory=lambda: _memory(config, options))


def parser() -> argparse.ArgumentParser:
    """The options."""
    presets = ", ".join(sorted(path.stem for path in PRESETS_DIR.glob("*.yaml")))
    parser = argparse.ArgumentParser(
        prog="run_treepo_eval.sh",
        description="Evaluates a model on one node or many. Environment variables that stand for options: "
        + ", ".join(VARIABLES)
        + ".",
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("--preset", "--config-name", default="avg16", help=f"one of {presets}, or of your own folder")
    add("--model", help="short for evaluation.model=...")
    add("--benchmark", action="append", default=[], metavar="NAME", help="a set or a parquet file; may be repeated")
    add("--limit", type=int, metavar="N", help="short for evaluation.max_questions=N: a smoke run")
    add("--template", help="short for evaluation.prompt_template=...: ours, qwen, final_answer, none, or a file")
    add("--sampling", help="short for evaluation.sampling=...: independent, tree, both")
    add("--divergence", action="append", default=[], metavar="D", help="of the trees; may be repeated")
    add_options(parser)
    return parser


def prepare(
    options: argparse.Namespace, command: Sequence[str], environment: Mapping[str, str]
) -> tuple[Launch, DictConfig]:
    """Composes the configuration and finds this node's place.

    Args:
        options: The parsed command line.
        command: The evaluation's command.
        environment: The environment variables.

    Returns:
        The launch, and the configuration, resolved.

    Raises:
        ConfigError: Something is refused.
    """
    limits = limits_of(options)
    cluster = detect(environment)
    overrides = [*from_environment(environment), *_shorthands(options), *options.overrides]
    config = compose_evaluation(options.preset, overrides, config_dir=options.config_dir)
    nodes = config.evaluation.nodes
    overrides = with_nodes(overrides, cluster, option="evaluation.nodes", value=nodes, dry_run=options.dry_run)
    config = compose_evaluation(options.preset, overrides, config_dir=options.config_dir)
    settle(config)
    job = Job(
        kind="evaluation",
        log="evaluation.log",
        command=(*command, "--config-name", options.preset, *preset_folder(options), *overrides),
        resources=Resources.of(config.ray_kwargs.ray_init),
        accelerators=config.actor_rollout_ref.rollout.n_gpus_per_node,
        accelerators_option="evaluation.accelerators_per_node",
        run_dir=Path(config.run_dir),
        checkpoints=None,
    )
    return Launch(job=job, cluster=cluster, limits=limits), config


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


def _shorthands(options: argparse.Namespace) -> list[str]:
    words = []
    if options.model:
        words.append(f"evaluation.model={hydra_quote(options.model)}")
    if options.benchmark:
        words.append(f"evaluation.benchmarks=[{','.join(map(hydra_quote, options.benchmark))}]")
    if options.limit is not None:
        words.append(f"evaluation.max_questions={options.limit}")
    if options.template:
        words.append(f"evaluation.prompt_template={hydra_quote(options.template)}")
    if options.sampling:
        words.append(f"evaluation.sampling={options.sampling}")
    if options.divergence:
        words.append(f"evaluation.divergences=[{','.join(options.divergence)}]")
    return words


def _check(config: DictConfig) -> tuple[str, ...]:
    check_folder(os.environ)
    setup = check(config)
    sys.stdout.write(f"\n{setup.servers} servers, {setup.prompts_in_flight} prompts in flight\n")
    return setup.warnings


def _memory(config: DictConfig, options: argparse.Namespace) -> str:
    folder = Path(str(config.evaluation.model)).expanduser()
    if options.model_shape is None and folder.is_dir():
        source = find_model(str(folder))
        folder = source.folder if source.shards is None else source.shards / "huggingface"
    shape = read_shape(folder, options.model_shape)
    return describe_servers(config, shape, accelerator_gib=options.accelerator_gib)
