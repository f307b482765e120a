"""An evaluation on verl's servers: samples, trees, and a run that is killed and resumes."""

import asyncio
import json
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import ray
from probe_server import Stack
from rich.console import Console
from scripted_generator import Silent
from tiny_stack import PRESET
from training_run import TrainingRun, write_sums
from transformers import AutoTokenizer

from treepo.evaluation import INDEPENDENT, RunWriter, Sample, StoredRun
from treepo.evaluation.ask.generator import Generated
from treepo.evaluation.ask.prompts import Prompt
from treepo.evaluation.ask.run import evaluate
from treepo.evaluation.ask.setup import Setup, check, prepare, work_of
from treepo.evaluation.config import compose_evaluation
from treepo.rewards.judge import Judge
from treepo.tree import FinishReason
from treepo.verl.rollout.end_tokens import end_tokens
from treepo.verl.serving.evaluation_job import run_evaluation
from treepo.verl.serving.generation import ServerGenerator

QUESTIONS, SAMPLES, TREE = 24, 4, "tree d=2"

pytestmark = pytest.mark.skipif(PRESET != "cpu_quickstart", reason="the evaluation's preset is the CPU's")


class Evaluation(TrainingRun):
    command = (TrainingRun.command[0], "-m", "treepo", "eval")


def words(model: Path, table: Path, folder: Path) -> list[str]:
    return [
        f"evaluation.model={model}",
        f"evaluation.benchmarks=[{table}]",
        f"run_dir={folder}",
        f"evaluation.n={SAMPLES}",
        "evaluation.divergences=[2]",
        "evaluation.prompts_in_flight=2",
    ]


@pytest.fixture(scope="module")
def setup(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    folder = tmp_path_factory.mktemp("evaluation")
    table = write_sums(folder / "sums.parquet", QUESTIONS, seed=0)
    return check(compose_evaluation("quickstart", words(stack.model, table, folder / "run")))


@pytest.fixture(scope="module")
def prompts(stack: Stack, setup: Setup) -> tuple[Prompt, ...]:
    tokenizer: Any = AutoTokenizer.from_pretrained(stack.model)
    return prepare(setup, stack.model, tokenizer).prompts["sums"].prompts


@pytest.fixture(scope="module")
def generator(stack: Stack, setup: Setup) -> ServerGenerator:
    eos = end_tokens(str(stack.model), stack.eos)
    assert eos == {stack.eos}
    return ServerGenerator(stack.client, [stack.replica], setup, eos_token_ids=eos)


def lengths(generated: Generated) -> list[int]:
    return [len(response.tokens) for response in generated.responses]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_sample_repeats_with_its_seed_and_reads_its_siblings_prompt_from_the_cache(
    stack: Stack, generator: ServerGenerator, prompts: tuple[Prompt, ...]
) -> None:
    await generator.forget_prefixes()
    first = await generator.sample(prompts[0], seed=2**63 - 1)
    again, other = await asyncio.gather(*(generator.sample(prompts[0], seed=seed) for seed in (2**63 - 1, 7)))
    assert list(first.responses[0].tokens) == list(again.responses[0].tokens)
    assert list(first.responses[0].tokens) != list(other.responses[0].tokens)
    assert (first.cached_tokens, first.prefix_tokens) == (0, len(prompts[0].tokens))
    response = first.responses[0]
    assert response.log_probs is not None
    assert lengths(first) == [len(response.log_probs)] == [first.tokens_generated]
    for one in (first, again, other):
        ended = one.responses[0].tokens[-1] == stack.eos
        assert one.responses[0].finish == (FinishReason.EOS if ended else FinishReason.MAX_TOKENS)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_tree_has_all_samples_and_repeats_with_its_seed(
    generator: ServerGenerator, prompts: tuple[Prompt, ...], setup: Setup
) -> None:
    options = setup.trees[TREE].model_copy(update={"seed": 5})
    first, again = [await generator.grow(prompts[1], options=options) for _ in range(2)]
    other = await generator.grow(prompts[1], options=options.model_copy(update={"seed": 6}))
    assert [list(response.tokens) for response in first.responses] == [list(one.tokens) for one in again.responses]
    assert first.responses != other.responses
    assert len(first.responses) == SAMPLES
    for response in first.responses:
        assert response.path is not None
        assert response.path.length == len(response.tokens) == len(response.log_probs or ())
    assert first.tokens_generated <= sum(lengths(first))
    assert max(lengths(first)) <= setup.options.response_length


@pytest.mark.asyncio(loop_scope="module")
async def test_a_prompt_that_leaves_no_room_fails_alone(
    generator: ServerGenerator, prompts: tuple[Prompt, ...], setup: Setup
) -> None:
    endless = Prompt(question=prompts[0].question, tokens=prompts[0].tokens * 60, text="")
    outcomes = await asyncio.gather(
        generator.sample(endless, seed=0),
        generator.grow(endless, options=setup.trees[TREE]),
        generator.sample(prompts[0], seed=0),
        return_exceptions=True,
    )
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [True, True, False]


def stored(folder: Path) -> dict[tuple[str, str, int], Sample]:
    return {sample.key: sample for sample in StoredRun(folder).samples("sums", log_probs=True)}


@pytest.mark.nightly
def test_a_run_that_is_killed_resumes_without_loss_or_repetition(
    stack: Stack,
    generator: ServerGenerator,
    setup: Setup,
    request: pytest.FixtureRequest,
) -> None:
    folder, total = Path(setup.config.run_dir), 2 * QUESTIONS * SAMPLES
    joined = [
        f"++ray_kwargs.ray_init.address='{ray.get_runtime_context().gcs_address}'",
        *(f"++ray_kwargs.ray_init.{name}=null" for name in ("num_cpus", "num_gpus", "object_store_memory")),
    ]
    command = words(stack.model, setup.files[0].path, folder)
    killed = Evaluation(["--config-name", "quickstart", *command, *joined])
    request.addfinalizer(killed.end)
    killed.wait_for(f"evaluation: {total} samples to generate", seconds=900)
    file, limit = folder / "samples/sums.jsonl", time.monotonic() + 200
    # In the middle of the trees, so that some of either kind are there.
    while file.read_bytes().count(TREE.encode()) < 3 * SAMPLES:
        assert killed.process.poll() is None, killed.tail()
        assert time.monotonic() < limit
        time.sleep(0.01)
    killed.process.kill()
    killed.process.wait()
    before, calls_before = stored(folder), StoredRun(folder).calls()
    assert total // 2 < len(before) < total

    # On a server that runs: what is asked, and so what is stored, is the same.
    tokenizer: Any = AutoTokenizer.from_pretrained(stack.model)
    prepared = prepare(setup, stack.model, tokenizer)
    resumed = Silent()
    with RunWriter(folder, prepared.plan) as writer, closing(Judge()) as judge:
        work = work_of(setup, prepared, tokenizer)
        assert asyncio.run(evaluate(work, generator, writer, judge=judge, progress=resumed)) == []
    after, calls = stored(folder), StoredRun(folder).calls()
    assert resumed.samples == total - len(before)
    assert before.items() <= after.items()
    assert Counter(sampling for sampling, *_ in after) == {INDEPENDENT: total // 2, TREE: total // 2}
    # A kill between the two files costs one call's record at most, and none is there twice.
    assert calls[: len(calls_before)] == calls_before
    assert total - SAMPLES <= sum(call.trajectories for call in calls) <= total

    # Nothing is lacking now: the same command starts no server and writes the report.
    outcome = run_evaluation(setup, Console(quiet=True))
    assert not outcome.generated
    assert json.loads(outcome.report.results.read_text())["complete"]
    for name in ("report.md", "report.html", "samples/sums.parquet", "config.yaml"):
        assert (folder / name).is_file(), name
