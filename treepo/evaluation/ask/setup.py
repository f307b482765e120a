"""From a composed configuration to a checked evaluation, and from that to the run's plan and prompts."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from treepo.config import ConfigError, TreePOConfig
from treepo.evaluation.ask.benchmarks import BenchmarkFile, find_benchmarks, load_benchmark
from treepo.evaluation.ask.model_folder import ModelSource, check_model, find_model, weights_digest
from treepo.evaluation.ask.own_reward import OwnReward, load_reward
from treepo.evaluation.ask.prompt_templates import PromptTemplate, read_prompt_template
from treepo.evaluation.ask.prompts import Prompts, Tokenizer, make_prompts, read_template
from treepo.evaluation.ask.work import Work
from treepo.evaluation.config import TALK_OPTIONS, TREE_OPTIONS, settle, talk_options, tree_options
from treepo.evaluation.keep.plans import refuse_other
from treepo.evaluation.keep.records import MAX_QUESTIONS, TOO_LONG, BenchmarkPlan, RunPlan, to_plain
from treepo.evaluation.keep.store import StoredRun
from treepo.evaluation.options import LOGGERS, EvaluationConfig, Sampling

_DECIDING = (
    "temperature",
    "top_p",
    "top_k",
    "prompt_length",
    "response_length",
    "seed",
    "seeded_requests",
    "log_probs",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """An evaluation that may start.

    Attributes:
        config: The whole configuration, resolved.
        options: The evaluation's options.
        trees: Options of its trees, by label of the sampling.
        talks: Options of independent talks with an environment; None without an environment.
        model: Where the model comes from.
        put: How questions are put.
        own_reward: The function that decides what is right; None for the built-in scorer.
        files: The benchmarks' files.
        warnings: A line each.
    """

    config: DictConfig
    options: EvaluationConfig
    trees: Mapping[str, TreePOConfig]
    talks: TreePOConfig | None
    model: ModelSource
    put: PromptTemplate
    own_reward: OwnReward | None
    files: tuple[BenchmarkFile, ...]
    warnings: tuple[str, ...]

    @property
    def servers(self) -> int:
        """Servers over all nodes."""
        return self.accelerators // self.options.tensor_parallel_size

    @property
    def accelerators(self) -> int:
        """Accelerators of all servers."""
        return self.options.nodes * self.config.actor_rollout_ref.rollout.n_gpus_per_node

    @property
    def prompts_in_flight(self) -> int:
        """Prompts that are asked at a time."""
        slots = self.config.actor_rollout_ref.rollout.max_num_seqs * self.servers
        # A question's independent samples are asked together, its trees one after the other.
        at_a_time = self.options.n if self.options.sampling is Sampling.TREE else self.options.samples
        return self.options.prompts_in_flight or max(self.servers, -(-2 * slots // at_a_time))


def check(config: DictConfig) -> Setup:
    """Checks a composed evaluation; starts and writes nothing.

    Args:
        config: As :func:`treepo.evaluation.config.compose_evaluation` gives it; resolved in place.

    Raises:
        ConfigError: Something cannot work, or the folder holds another run; one line that names the option and the
            remedy.
    """
    options = settle(config)
    trees = tree_options(config, options)
    model = find_model(options.model)
    _check_revision(options, model)
    _check_loggers(options)
    if options.deterministic and config.ray_kwargs.ray_init.runtime_env.env_vars.get("VERL_PLATFORM") == "cpu":
        raise ConfigError(
            "evaluation.deterministic=true is refused without a GPU: vLLM has its batch-invariant kernels for GPUs "
            "alone; on a CPU leave it false"
        )
    check_model(model, longest=options.prompt_length + options.response_length)
    files = find_benchmarks(options.benchmarks, Path(options.data_dir).expanduser())
    setup = Setup(
        config=config,
        options=options,
        trees=trees,
        talks=talk_options(config),
        model=model,
        put=read_prompt_template(options.prompt_template),
        own_reward=None
        if options.reward_function is None
        else load_reward(options.reward_function, threshold=options.reward_threshold),
        files=tuple(files),
        warnings=tuple(_warnings(options, trees)),
    )
    _check_folder(setup)
    return setup


def _check_loggers(options: EvaluationConfig) -> None:
    for name in options.loggers:
        package = LOGGERS[name]
        if package is not None and find_spec(package) is None:
            raise ConfigError(f"evaluation.loggers has {name}, which is not installed: `pip install {package}`")


def _check_revision(options: EvaluationConfig, model: ModelSource) -> None:
    if options.model_revision is None:
        return
    if not model.on_hub:
        raise ConfigError(
            f"evaluation.model_revision={options.model_revision} is refused: evaluation.model={model.name} is a "
            "folder, and only a model on the hub has revisions"
        )
    if options.nodes > 1:
        raise ConfigError(
            f"evaluation.model_revision={options.model_revision} is refused on evaluation.nodes={options.nodes}: "
            "download it once with `hf download` into a folder that all nodes share, and give that as evaluation.model"
        )


def _check_folder(setup: Setup) -> None:
    """Refuses a folder that holds another run, by all that is known before model and questions are loaded."""
    folder = Path(setup.config.run_dir)
    if not (folder / "run.json").is_file():
        return
    stored = to_plain(StoredRun(folder).plan)
    now: dict[str, Any] = {
        "model": setup.model.name,
        "samples": setup.options.samples,
        "seeds": setup.options.seeds,
        "samplings": setup.options.samplings,
        "benchmarks": sorted(file.name for file in setup.files),
        "options": _known(setup),
    }
    before = {name: stored[name] for name in now}
    before["benchmarks"] = sorted(stored["benchmarks"])
    before["options"] = {name: value for name, value in stored["options"].items() if name in now["options"]}
    refuse_other(folder, before, now)


def _warnings(options: EvaluationConfig, trees: Mapping[str, TreePOConfig]) -> list[str]:
    warnings = []
    for tree in list(trees.values())[:1]:
        reach = tree.max_depth * tree.segment_length
        if reach < options.response_length:
            warnings.append(
                f"treepo.max_depth x treepo.segment_length = {reach} is below evaluation.response_length="
                f"{options.response_length}: trees cannot reach the length that independent samples can"
            )
    return warnings


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is asked of the model, as the run's plan and as prompts by benchmark."""

    plan: RunPlan
    prompts: Mapping[str, Prompts]


def prepare(setup: Setup, folder: Path, tokenizer: Tokenizer) -> Prepared:
    """Loads the benchmarks, makes the prompts and the run's plan.

    Args:
        setup: The checked evaluation.
        folder: The model's folder, merged.
        tokenizer: The model's tokenizer.

    Raises:
        ConfigError: A benchmark cannot be asked.
    """
    options = setup.options
    template = read_template(options.chat_template, tokenizer)
    prompts = {
        file.name: make_prompts(
            load_benchmark(file, most=options.max_questions, own_reward=setup.own_reward is not None),
            tokenizer,
            put=setup.put,
            template=template,
            longest=options.prompt_length,
        )
        for file in setup.files
    }
    plan = RunPlan(
        model=setup.model.name,
        samples=options.samples,
        seeds=options.seeds,
        samplings=options.samplings,
        benchmarks={
            name: BenchmarkPlan(questions=len(found.prompts), weight=found.benchmark.weight)
            for name, found in prompts.items()
        },
        options=_deciding(setup, prompts, folder, template),
    )
    return Prepared(plan=plan, prompts=prompts)


def _deciding(setup: Setup, prompts: Mapping[str, Prompts], folder: Path, template: str) -> dict[str, Any]:
    """All else that decides what the samples are."""
    found = _known(setup)
    found["weights"] = weights_digest(folder)
    if setup.model.on_hub and folder.is_dir():
        found["model_revision"] = folder.name
    found["chat_template"] = hashlib.sha256(template.encode()).hexdigest()[:16]
    found["files"] = {name: each.benchmark.sha256 for name, each in prompts.items()}
    found[TOO_LONG] = {name: list(each.too_long) for name, each in prompts.items() if each.too_long}
    return found


def _known(setup: Setup) -> dict[str, Any]:
    """Those that are known before anything is loaded."""
    found: dict[str, Any] = {name: getattr(setup.options, name) for name in _DECIDING}
    # Only where they are given, so that runs that were begun without them resume.
    if setup.put.digest is not None:
        found["prompt_template"], found["prompt_template_digest"] = setup.put.name, setup.put.digest
    if setup.own_reward is not None:
        reward = setup.own_reward
        found["reward_function"] = {"name": reward.name, "digest": reward.digest, "threshold": reward.threshold}
    if setup.options.deterministic:
        found["deterministic"] = True
    if setup.options.max_questions is not None:
        found[MAX_QUESTIONS] = setup.options.max_questions
    found["dtype"] = str(setup.config.actor_rollout_ref.rollout.dtype)
    for tree in list(setup.trees.values())[:1]:  # they differ in divergence alone, which their labels say
        found["treepo"] = tree.model_dump(mode="json", include=set[str](TREE_OPTIONS) - {"environment"})
    if setup.talks is not None:
        found["talks"] = setup.talks.model_dump(mode="json", include=set[str](TALK_OPTIONS))
    return found


def work_of(setup: Setup, prepared: Prepared, tokenizer: Tokenizer) -> Work:
    """What the run is to generate."""
    return Work(
        prompts=prepared.prompts,
        trees=setup.trees,
        seed=setup.options.seed,
        log_probs=setup.options.log_probs,
        accelerators=setup.accelerators,
        prompts_in_flight=setup.prompts_in_flight,
        judges=setup.options.judges,
        max_failures=setup.options.max_failures,
        own_reward=setup.own_reward,
        decode=lambda tokens: tokenizer.decode(list(tokens), skip_special_tokens=True),
    )
