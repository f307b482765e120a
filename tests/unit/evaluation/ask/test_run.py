"""The loop: everything is generated once, whatever ends it, and one prompt's failure is one prompt's."""

import asyncio
import random
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pytest
from scripted_generator import TREE, Killed, ScriptedGenerator, Silent, cut, plan_of, prompts, work

from treepo.evaluation import INDEPENDENT, RunWriter, Sample, StoredRun
from treepo.evaluation.ask.clock import AcceleratorClock
from treepo.evaluation.ask.generator import Generated
from treepo.evaluation.ask.prompts import Prompt
from treepo.evaluation.ask.run import evaluate
from treepo.evaluation.ask.work import EvaluationError, Failure, Work, derived_seed
from treepo.rewards.judge import Judge

ALL = 2 * 6 * 3


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    found = Judge()
    yield found
    found.close()


def run(folder: Path, judge: Judge, generator: ScriptedGenerator, asked: Work | None = None) -> list[Failure]:
    asked = asked or work()
    with RunWriter(folder, plan_of(asked)) as writer:
        return asyncio.run(evaluate(asked, generator, writer, judge=judge, progress=Silent()))


def stored(folder: Path) -> list[Sample]:
    found = StoredRun(folder)
    return [sample for name in found.plan.benchmarks for sample in found.samples(name)]


def by_key(samples: list[Sample]) -> dict[tuple[str, str, str, int], Sample]:
    return {(sample.benchmark, *sample.key): sample for sample in samples}


def test_a_run_stores_every_sample_once_with_its_verdict_and_what_it_took(tmp_path: Path, judge: Judge) -> None:
    generator = ScriptedGenerator()
    assert run(tmp_path, judge, generator) == []
    samples, calls = stored(tmp_path), StoredRun(tmp_path).calls()
    assert len(by_key(samples)) == len(samples) == ALL
    assert {sample.correct for sample in samples} == {True, False}
    assert all(sample.correct == (sample.answer == "2") for sample in samples)
    assert all((sample.path is not None) == (sample.sampling == TREE) for sample in samples)
    assert all(sample.log_probs is None for sample in samples)
    # A request each, and one per tree.
    assert [call.sampling for call in calls].count(INDEPENDENT) == 18
    assert [call.trajectories for call in calls if call.sampling == TREE] == [3] * 6
    assert sum(call.tokens_generated for call in calls) == sum(sample.tokens for sample in samples)
    assert all(call.cached_tokens == 1 and call.prefix_tokens == 3 for call in calls)


def test_samplings_have_the_engine_to_themselves_and_an_empty_cache(tmp_path: Path, judge: Judge) -> None:
    generator = ScriptedGenerator()
    run(tmp_path, judge, generator)
    assert [sampling for sampling, _, _ in generator.asked] == [INDEPENDENT] * 18 + [TREE] * 6
    assert generator.forgotten == [0, 18]
    assert generator.warm_ups == 1
    assert generator.most_prompts == 3


def test_a_sample_has_a_seed_of_its_own_that_repeats(tmp_path: Path, judge: Judge) -> None:
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        run(tmp_path / name, judge, ScriptedGenerator(), work(seed=seed))
    first, again, other = (by_key(stored(tmp_path / name)) for name in ("first", "again", "other"))
    assert first == again
    seeds = {sample.seed for sample in first.values()}
    assert len(seeds) == 18 + 6  # of a tree's samples one, the tree's
    assert not seeds & {sample.seed for sample in other.values()}
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(0, "a", "b c") != derived_seed(0, "a b", "c")


def test_more_seeds_are_the_runs_of_each_seed_side_by_side(tmp_path: Path, judge: Judge) -> None:
    for seed in (0, 1):
        run(tmp_path / str(seed), judge, ScriptedGenerator(), work(seed=seed))
    single = [by_key(stored(tmp_path / str(seed))) for seed in (0, 1)]
    with RunWriter(tmp_path / "both", plan_of(work(), samples=6, seeds=2)) as writer:
        asyncio.run(evaluate(work(), ScriptedGenerator(), writer, judge=judge, progress=Silent()))
    both = by_key(stored(tmp_path / "both"))
    assert len(both) == 2 * ALL
    for (benchmark, sampling, question, index), sample in both.items():
        of_seed, place = divmod(index, 3)
        alone = single[of_seed][benchmark, sampling, question, place]
        assert (sample.seed, sample.response, sample.path) == (alone.seed, alone.response, alone.path)
        assert sample.tree == (of_seed if sampling == TREE else 0)


def test_a_run_that_lacks_one_of_two_trees_grows_that_one(tmp_path: Path, judge: Judge) -> None:
    plan = plan_of(work(), samples=6, seeds=2)

    def go(folder: Path, generator: ScriptedGenerator) -> None:
        with RunWriter(folder, plan) as writer:
            asyncio.run(evaluate(work(), generator, writer, judge=judge, progress=Silent()))

    go(tmp_path / "whole", ScriptedGenerator())
    second = [sample for sample in stored(tmp_path / "whole") if sample.question == "q0" and sample.tree == 1]
    with RunWriter(tmp_path / "part", plan) as writer:
        writer.append([sample for sample in second if sample.benchmark == "sums"])
    generator = ScriptedGenerator()
    go(tmp_path / "part", generator)
    assert len([asked for asked in generator.asked if asked[0] == TREE]) == 2 * 6 - 1
    assert by_key(stored(tmp_path / "part")) == by_key(stored(tmp_path / "whole"))


@pytest.mark.parametrize("killed_after", [0, 1, 4, 11, 18, 19, 22])
def test_a_killed_run_resumes_without_loss_or_repetition(tmp_path: Path, judge: Judge, killed_after: int) -> None:
    whole = tmp_path / "whole"
    run(whole, judge, ScriptedGenerator())
    draw = random.Random(killed_after)
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        with pytest.raises(Killed):
            run(folder, judge, ScriptedGenerator(killed_after=killed_after))
        for file in (*folder.glob("samples/*.jsonl"), folder / "calls.jsonl"):
            cut(file, draw.choice([0, 1, draw.randint(0, 2000)]))
        with RunWriter(folder, plan_of(work())) as writer:  # drops what was cut in half
            kept = by_key(stored(writer.folder))
        second = ScriptedGenerator()
        assert run(folder, judge, second) == []
        # What was there is neither asked again nor changed; all else is asked once.
        there = {(sampling, sample.question, sample.seed) for (_, sampling, *_), sample in kept.items()}
        assert not there & set(second.asked)
        assert len(second.asked) == len(set(second.asked))
        assert by_key(stored(folder)) == by_key(stored(whole))
        assert kept.items() <= by_key(stored(folder)).items()


def test_a_finished_run_asks_nothing(tmp_path: Path, judge: Judge) -> None:
    run(tmp_path, judge, ScriptedGenerator())
    again = ScriptedGenerator()
    assert run(tmp_path, judge, again) == []
    assert (again.asked, again.forgotten, again.warm_ups) == ([], [], 0)


def test_one_prompts_failure_is_its_own_and_the_next_start_asks_it_again(tmp_path: Path, judge: Judge) -> None:
    asked = work(prompts={"sums": prompts("sums", 4)}, max_failures=2)
    failures = run(tmp_path, judge, ScriptedGenerator(broken=["q2"]), asked)
    assert {(failure.question, failure.sampling) for failure in failures} == {("q2", INDEPENDENT), ("q2", TREE)}
    assert "RuntimeError: the engine refuses" in str(failures[0])
    assert len(stored(tmp_path)) == 3 * 2 * 3
    second = ScriptedGenerator()
    assert run(tmp_path, judge, second, asked) == []
    assert {question for _, question, _ in second.asked} == {"q2"}
    assert len(stored(tmp_path)) == 4 * 2 * 3


def test_an_engine_that_fails_all_prompts_ends_the_run(tmp_path: Path, judge: Judge) -> None:
    generator = ScriptedGenerator(broken=["q0", "q1", "q2", "q3"])
    with pytest.raises(EvaluationError, match=r"3 prompts failed, more than evaluation.max_failures=2; the last one: "):
        run(tmp_path, judge, generator)
    assert len({question for _, question, _ in generator.asked}) <= 4


def test_an_engine_that_does_not_work_ends_the_run_before_the_first_prompt(tmp_path: Path, judge: Judge) -> None:
    class Dead(ScriptedGenerator):
        async def warm_up(self, prompt: Prompt) -> None:
            raise ConnectionError("no server")

    generator = Dead()
    with pytest.raises(EvaluationError, match="the engine does not work: no server"):
        run(tmp_path, judge, generator)
    assert generator.asked == []


def test_a_tree_of_another_size_is_a_failure_and_none_of_it_is_stored(tmp_path: Path, judge: Judge) -> None:
    failures = run(tmp_path, judge, ScriptedGenerator(short=True), work(max_failures=6))
    assert {failure.why for failure in failures} == {"RuntimeError: the tree has 2 samples instead of 3"}
    assert {sample.sampling for sample in stored(tmp_path)} == {INDEPENDENT}


def test_a_cancelled_run_ends_its_calls_and_resumes(tmp_path: Path, judge: Judge) -> None:
    class Hanging(ScriptedGenerator):
        begun = ended = 0

        async def sample(self, prompt: Prompt, *, seed: int) -> Generated:
            if prompt.question.id == "q1":
                self.begun += 1
                try:
                    await asyncio.sleep(600)
                finally:
                    self.ended += 1
            return await super().sample(prompt, seed=seed)

    generator = Hanging()

    async def cancelled() -> None:
        with RunWriter(tmp_path, plan_of(work())) as writer:
            task = asyncio.create_task(evaluate(work(), generator, writer, judge=judge, progress=Silent()))
            while generator.begun < 6 or not stored(tmp_path):
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancelled())
    assert generator.ended == 6  # q1 of both benchmarks, three samples each
    assert 0 < len(stored(tmp_path)) < ALL
    run(tmp_path, judge, ScriptedGenerator())
    assert len(stored(tmp_path)) == ALL


def test_half_a_tree_in_the_files_is_refused(tmp_path: Path, judge: Judge) -> None:
    run(tmp_path / "whole", judge, ScriptedGenerator())
    tree = [sample for sample in stored(tmp_path / "whole") if sample.sampling == TREE]
    with RunWriter(tmp_path / "half", plan_of(work())) as writer:
        writer.append(tree[:1])
    with pytest.raises(ValueError, match="half of its tree d=2 is stored"):
        run(tmp_path / "half", judge, ScriptedGenerator())


def test_a_disk_that_is_full_ends_the_run(tmp_path: Path, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunWriter, "append", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, judge, ScriptedGenerator())


def test_log_probs_are_stored_when_asked_for(tmp_path: Path, judge: Judge) -> None:
    run(tmp_path, judge, ScriptedGenerator(), work(log_probs=True))
    found = list(StoredRun(tmp_path).samples("sums", log_probs=True))
    assert all(sample.log_probs == (-0.5,) * sample.tokens for sample in found)


def test_trees_keep_where_their_nodes_end_in_the_text(tmp_path: Path, judge: Judge) -> None:
    run(tmp_path, judge, ScriptedGenerator())
    # A token is one character here.
    for sample in stored(tmp_path):
        assert sample.node_ends == (None if sample.path is None else tuple(accumulate(sample.path.node_lengths)))


def test_the_shares_of_overlapping_calls_sum_to_the_accelerators_time() -> None:
    now = 0.0
    clock = AcceleratorClock(4, now=lambda: now)
    first = clock.begin()
    now = 1.0
    second = clock.begin()
    now = 3.0
    took_first = clock.end(first)
    now = 4.0
    took_second = clock.end(second)
    now = 10.0  # nobody's
    third = clock.begin()
    now = 11.0
    took_third = clock.end(third)
    assert (took_first.seconds, took_second.seconds, took_third.seconds) == (3.0, 3.0, 1.0)
    assert (took_first.accelerator_seconds, took_second.accelerator_seconds) == (4 + 4, 4 + 4)
    assert took_third.accelerator_seconds == 4
