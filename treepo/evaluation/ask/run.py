"""Generates what a run lacks, judges it and stores it.

Samplings are run one after another, so that each has the engine to itself; within one, prompts of all benchmarks follow
each other without a pause. What is stored is never generated again.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate

from treepo.config import TreePOConfig
from treepo.evaluation.ask.benchmarks import Question
from treepo.evaluation.ask.clock import AcceleratorClock, Took
from treepo.evaluation.ask.generator import Generated, Generator, Response
from treepo.evaluation.ask.own_reward import VERDICT
from treepo.evaluation.ask.prompts import Prompt
from treepo.evaluation.ask.work import EvaluationError, Failure, Progress, Work, derived_seed
from treepo.evaluation.keep.records import Call, Sample, repeats_itself
from treepo.evaluation.keep.store import RunWriter
from treepo.rewards.judge import Judge
from treepo.rewards.scoring import judge_response
from treepo.tree import NodePath


async def evaluate(
    work: Work, generator: Generator, writer: RunWriter, *, judge: Judge, progress: Progress
) -> list[Failure]:
    """Generates, judges and stores every sample that the run lacks.

    Args:
        work: What to generate.
        generator: Generates it.
        writer: The run.
        judge: Decides what reading cannot.
        progress: Told how far it is.

    Returns:
        What failed; the same call asks it again.

    Raises:
        EvaluationError: More prompts failed than may; what was stored before stays.
        OSError: The run cannot be written to.
    """
    with ThreadPoolExecutor(work.judges, thread_name_prefix="evaluation-judge") as threads:
        try:
            loop = _Loop(work, generator, writer, judge, progress, threads)
            for sampling in writer.plan.samplings:
                await loop.run(sampling)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return loop.failures


class _Loop:
    def __init__(
        self,
        work: Work,
        generator: Generator,
        writer: RunWriter,
        judge: Judge,
        progress: Progress,
        threads: ThreadPoolExecutor,
    ) -> None:
        self.failures: list[Failure] = []
        self._work, self._generator, self._writer = work, generator, writer
        self._judge, self._progress, self._threads = judge, progress, threads
        self._clock = AcceleratorClock(work.accelerators)
        self._warm = False
        # A slot is free again when its prompt is generated; the backlog holds back the engine where judging is slower.
        self._slots = asyncio.Semaphore(work.prompts_in_flight)
        self._backlog = asyncio.Semaphore(4 * work.judges + work.prompts_in_flight)

    async def run(self, sampling: str) -> None:
        """Generates what one sampling lacks."""
        pending = list(self._pending(sampling))
        lacking = sum(len(indices) for _, indices in pending)
        total = sum(len(prompts.prompts) for prompts in self._work.prompts.values()) * self._writer.plan.samples
        self._progress.begin(sampling, total=total, done=total - lacking)
        if not pending:
            return
        if not self._warm:
            try:
                await self._generator.warm_up(pending[0][0])
            except Exception as error:
                raise EvaluationError(f"the engine does not work: {error}") from error
            self._warm = True
        await self._generator.forget_prefixes()
        options = self._work.trees.get(sampling)
        try:
            async with asyncio.TaskGroup() as group:
                for prompt, indices in pending:
                    await self._slots.acquire()
                    group.create_task(self._in_slot(group, prompt, sampling, indices, options))
        except BaseExceptionGroup as errors:
            # The first one cancelled all others.
            raise errors.exceptions[0] from errors

    def _pending(self, sampling: str) -> Iterator[tuple[Prompt, list[int]]]:
        """Prompts with the indices of their samples that are lacking."""
        for name, prompts in self._work.prompts.items():
            lacking: dict[str, list[int]] = {}
            ids = [prompt.question.id for prompt in prompts.prompts]
            for question, index in self._writer.pending(name, sampling, ids):
                lacking.setdefault(question, []).append(index)
            for prompt in prompts.prompts:
                if indices := lacking.get(prompt.question.id):
                    if sampling in self._work.trees and len(indices) % self._writer.plan.per_seed:
                        raise ValueError(f"{name} question {prompt.question.id}: half of its {sampling} is stored")
                    yield prompt, indices

    async def _in_slot(
        self,
        group: asyncio.TaskGroup,
        prompt: Prompt,
        sampling: str,
        indices: Sequence[int],
        options: TreePOConfig | None,
    ) -> None:
        try:
            if options is None:
                await self._independent(group, prompt, sampling, indices)
            else:
                width = self._writer.plan.per_seed
                for tree in sorted({index // width for index in indices}):
                    await self._tree(group, prompt, sampling, tree, options)
        finally:
            self._slots.release()

    async def _independent(
        self, group: asyncio.TaskGroup, prompt: Prompt, sampling: str, indices: Sequence[int]
    ) -> None:
        async def one(index: int) -> None:
            of_seed, place = divmod(index, self._writer.plan.per_seed)
            question = prompt.question
            seed = derived_seed(self._work.seed + of_seed, question.benchmark, question.id, place, sampling)
            began = self._clock.begin()
            try:
                generated = await self._generator.sample(prompt, seed=seed)
            finally:
                took = self._clock.end(began)
            await self._hand_over(group, prompt, sampling, [index], seed, generated, took)

        outcomes = await asyncio.gather(*map(one, indices), return_exceptions=True)
        self._note(prompt, sampling, outcomes)

    async def _tree(
        self, group: asyncio.TaskGroup, prompt: Prompt, sampling: str, tree: int, options: TreePOConfig
    ) -> None:
        seed = derived_seed(self._work.seed + tree, prompt.question.benchmark, prompt.question.id, sampling)
        width = self._writer.plan.per_seed
        wanted = range(tree * width, (tree + 1) * width)

        async def grown() -> None:
            began = self._clock.begin()
            try:
                generated = await self._generator.grow(prompt, options=options.model_copy(update={"seed": seed}))
            finally:
                took = self._clock.end(began)
            if len(generated.responses) != len(wanted):
                raise RuntimeError(f"the tree has {len(generated.responses)} samples instead of {len(wanted)}")
            await self._hand_over(group, prompt, sampling, wanted, seed, generated, took)

        self._note(prompt, sampling, await asyncio.gather(grown(), return_exceptions=True))

    def _note(self, prompt: Prompt, sampling: str, outcomes: Sequence[BaseException | None]) -> None:
        """Notes a prompt's failure; what is no ordinary exception is raised on."""
        errors = [outcome for outcome in outcomes if outcome is not None]
        if not errors:
            return
        for error in errors:
            if not isinstance(error, Exception):
                raise error
        self._fail(prompt, sampling, errors[0])

    def _fail(self, prompt: Prompt, sampling: str, error: BaseException) -> None:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:500]
        failure = Failure(benchmark=prompt.question.benchmark, question=prompt.question.id, sampling=sampling, why=why)
        self.failures.append(failure)
        self._progress.say(f"warning: {failure}")
        if len(self.failures) > self._work.max_failures:
            raise EvaluationError(
                f"{len(self.failures)} prompts failed, more than evaluation.max_failures={self._work.max_failures}; "
                f"the last one: {failure}"
            ) from error

    async def _hand_over(
        self,
        group: asyncio.TaskGroup,
        prompt: Prompt,
        sampling: str,
        indices: Sequence[int],
        seed: int,
        generated: Generated,
        took: Took,
    ) -> None:
        await self._backlog.acquire()
        group.create_task(self._keep(prompt, sampling, indices, seed, generated, took))

    async def _keep(
        self, prompt: Prompt, sampling: str, indices: Sequence[int], seed: int, generated: Generated, took: Took
    ) -> None:
        """Judges and stores what one call gave."""

        def judged() -> list[Sample]:
            return [
                self._sample(prompt, sampling, index, seed, response)
                for index, response in zip(indices, generated.responses, strict=True)
            ]

        try:
            try:
                samples = await asyncio.get_running_loop().run_in_executor(self._threads, judged)
            except ValueError as error:
                self._fail(prompt, sampling, error)
                return
            self._writer.append(samples)
            self._writer.append_call(
                Call(
                    benchmark=prompt.question.benchmark,
                    sampling=sampling,
                    started=took.started,
                    seconds=took.seconds,
                    accelerator_seconds=took.accelerator_seconds,
                    trajectories=len(samples),
                    tokens_generated=generated.tokens_generated,
                    prefix_tokens=generated.prefix_tokens,
                    cached_tokens=generated.cached_tokens,
                )
            )
        finally:
            self._backlog.release()
        self._progress.advance(len(samples), sum(sample.correct for sample in samples))

    def _sample(self, prompt: Prompt, sampling: str, index: int, seed: int, response: Response) -> Sample:
        question = prompt.question
        text = str(self._work.decode(response.tokens))
        # What an environment printed is no answer.
        last = text if response.final_turn is None else str(self._work.decode(response.final_turn))
        correct, answer, verdict = self._judged(question, last)
        return Sample(
            benchmark=question.benchmark,
            question=question.id,
            index=index,
            sampling=sampling,
            model=self._writer.plan.model,
            seed=seed,
            prompt=prompt.text,
            response=text,
            tokens=len(response.tokens),
            finish=response.finish,
            truths=question.truths,
            answer=answer,
            correct=correct,
            verdict=verdict,
            repetition=repeats_itself(text),
            log_probs=response.log_probs if self._work.log_probs else None,
            path=response.path,
            tree=0 if response.path is None else index // self._writer.plan.per_seed,
            from_fallback=response.from_fallback,
            node_ends=None if response.path is None else self._node_ends(response.tokens, response.path, text),
        )

    def _node_ends(self, tokens: Sequence[int], path: NodePath, text: str) -> tuple[int, ...]:
        """Where each node ends in the text; a character whose bytes two nodes share is the second one's."""
        decoded = (str(self._work.decode(tokens[: place.stop])) for _, place in path.spans())
        alike = (len(os.path.commonprefix([part, text])) for part in decoded)  # noqa: RUF071 - characters are meant
        ends = accumulate(alike, max)
        return (*tuple(ends)[:-1], len(text))

    def _judged(self, question: Question, text: str) -> tuple[bool, str | None, str]:
        """Whether a response is right, its answer, and what decided."""
        if self._work.own_reward is not None:
            return *self._work.own_reward.judge(question, text), VERDICT
        found = judge_response(text, question.truths, data_source=question.data_source, judge=self._judge)
        return found.correct, found.answer, found.path.value
