"""One evaluation from its checked configuration to its report."""

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from rich.console import Console

from treepo.evaluation import RunWriter, StoredRun
from treepo.evaluation.ask.hub_model import fetch_model
from treepo.evaluation.ask.prompts import read_template
from treepo.evaluation.ask.run import evaluate
from treepo.evaluation.ask.setup import Prepared, Setup, prepare, work_of
from treepo.evaluation.ask.work import EvaluationError, Failure
from treepo.evaluation.count.flat import flat_metrics
from treepo.evaluation.keep.export import write_parquet
from treepo.evaluation.show.progress import ConsoleProgress
from treepo.evaluation.show.report import Report, write_report
from treepo.processes import heeded
from treepo.rewards.judge import Judge
from treepo.verl.serving.merging import merged
from treepo.verl.serving.tracking import track

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an evaluation came to.

    Attributes:
        report: The written report.
        failures: Prompts that failed; the same command asks them again.
        generated: Whether anything had to be generated.
    """

    report: Report
    failures: tuple[Failure, ...]
    generated: bool


def run_evaluation(setup: Setup, console: Console) -> Outcome:
    """Generates what the run lacks, and writes its report.

    Servers are started only where something is lacking.

    Args:
        setup: The checked evaluation.
        console: Told what happens.

    Raises:
        ConfigError: The model, a benchmark or the run's folder is refused.
        EvaluationError: Too many prompts failed, or the Ray cluster did.
        KeyboardInterrupt: A signal ended it; what was stored stays.
    """
    from verl.utils.tokenizer import hf_tokenizer

    config, folder = setup.config, Path(setup.config.run_dir)
    if setup.model.shards is not None:
        console.print(f"merging {setup.model.shards} into {setup.model.folder}")
    if setup.model.on_hub and setup.options.nodes == 1:
        # One commit for tokenizer and servers, whatever is pushed meanwhile; other nodes would have to find it too.
        path = fetch_model(setup.model.name, setup.options.model_revision)
    else:
        path = merged(setup.model)
    # Servers run in folders of their own.
    config.actor_rollout_ref.model.path = str(path.resolve() if path.is_dir() else path)
    model = config.actor_rollout_ref.model
    tokenizer: Any = hf_tokenizer(model.path, trust_remote_code=model.trust_remote_code)
    prepared = prepare(setup, Path(model.path), tokenizer)
    for name, prompts in prepared.prompts.items():
        if prompts.too_long:
            console.print(
                f"warning: {name}: {len(prompts.too_long)} questions are left out, their prompts are longer than "
                f"evaluation.prompt_length={setup.options.prompt_length}"
            )
    with RunWriter(folder, prepared.plan) as writer:
        OmegaConf.save(config, folder / "config.yaml")
        lacking = _lacking(prepared, writer)
        console.print(f"evaluation: {lacking} samples to generate; {folder}")
        failures = _generate(setup, prepared, tokenizer, writer, console) if lacking else []
    console.print("evaluation: report")
    stored = StoredRun(folder)
    report = write_report(stored, folder)
    write_parquet(stored)
    if setup.options.loggers:
        track(setup.options, folder, stored.plan, flat_metrics(report.summary))
    return Outcome(report=report, failures=tuple(failures), generated=lacking > 0)


def _lacking(prepared: Prepared, writer: RunWriter) -> int:
    return sum(
        len(writer.pending(name, sampling, [prompt.question.id for prompt in prompts.prompts]))
        for sampling in prepared.plan.samplings
        for name, prompts in prepared.prompts.items()
    )


def _generate(setup: Setup, prepared: Prepared, tokenizer: Any, writer: RunWriter, console: Console) -> list[Failure]:
    # Only now: vLLM takes seconds to import, and a finished run needs none of it.
    from ray.exceptions import RayError

    from treepo.verl.rollout.end_tokens import end_tokens
    from treepo.verl.serving.cluster import first_errors, ray_cluster
    from treepo.verl.serving.generation import ServerGenerator, start_servers

    config, logs = setup.config, None
    try:
        with ExitStack() as running:
            logs = running.enter_context(ray_cluster(config))
            console.print(f"evaluation: starting {setup.servers} servers on {setup.accelerators} accelerators")
            client, replicas = start_servers(config)
            eos = end_tokens(config.actor_rollout_ref.model.path, tokenizer.eos_token_id)
            talks = None if setup.talks is None else _talks(client, setup, tokenizer, eos, replicas=len(replicas))
            generator = ServerGenerator(client, replicas, setup, eos_token_ids=eos, talks=talks)
            judge = running.enter_context(closing(Judge(workers=setup.options.judges)))
            progress = running.enter_context(ConsoleProgress(console))
            work = work_of(setup, prepared, tokenizer)
            return asyncio.run(_until_signalled(evaluate(work, generator, writer, judge=judge, progress=progress)))
    except RayError as error:
        if logs is None:
            raise EvaluationError(str(error)) from error
        said = [str(error), f"the output of Ray's processes is in {logs}", *first_errors(logs)]
        if config.ray_kwargs.ray_init.get("address") is not None:
            # An address does not tell whose cluster it is, and the launcher removes the folder of its own.
            said.insert(2, f"if the launcher has made that cluster, it moves the output to {config.run_dir}/logs/ray")
        raise EvaluationError("\n".join(said)) from error


def _talks(client: Any, setup: Setup, tokenizer: Any, eos: frozenset[int], *, replicas: int) -> Any:
    """Talks with the environment, with the chat template of the prompts."""
    from transformers import AutoConfig

    from treepo.verl.serving.talks import EvaluationTalks

    options, config = setup.options, setup.config.actor_rollout_ref
    tokenizer.chat_template = read_template(options.chat_template, tokenizer)
    described = AutoConfig.from_pretrained(config.model.path, trust_remote_code=config.model.trust_remote_code)
    return EvaluationTalks(
        client,
        tokenizer=tokenizer,
        model_type=described.model_type,
        put=setup.put,
        multi_turn=config.rollout.multi_turn,
        sampling_params={name: getattr(options, name) for name in ("temperature", "top_p", "top_k")},
        longest=options.response_length,
        seeded=options.seeded_requests,
        eos_token_ids=eos,
        replicas=replicas,
    )


async def _until_signalled(work: Coroutine[Any, Any, T]) -> T:
    """Awaits something; a signal cancels it.

    Raises:
        KeyboardInterrupt: A signal came.
    """
    task = asyncio.ensure_future(work)
    signalled = False

    def cancel() -> None:
        nonlocal signalled
        signalled = True
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in heeded(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, cancel)
    try:
        return await task
    except asyncio.CancelledError:
        if signalled:
            raise KeyboardInterrupt from None
        raise
