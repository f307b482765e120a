"""The learning benchmark's runs: resumption, and what is read from their logs and models."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from learning_runs import result
from tiny_stack import write_tiny_model
from torch.utils.tensorboard import SummaryWriter

from benchmarks.learning import collect, evaluate, results, study
from benchmarks.learning.process import ProcessFailed
from benchmarks.learning.results import RunFailed, RunKey, RunResult
from benchmarks.learning.tasks import WORDS
from treepo.quickstart.chains import working
from treepo.quickstart.prepare import Prepared
from treepo.quickstart.task import TaskFiles, held_out_chains
from treepo.quickstart.warm_start import WarmStart

# --- results and resumption


KEYS = results.plan({"grpo": "a", "treepo": "b"}, range(2))


def finished(key: RunKey) -> RunResult:
    return result(key.arm, key.seed, fingerprint=key.fingerprint)


def test_all_arms_of_a_seed_come_before_the_next_seed() -> None:
    assert [(key.seed, key.arm) for key in KEYS] == [(0, "grpo"), (0, "treepo"), (1, "grpo"), (1, "treepo")]


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    results.save(tmp_path, result())
    assert results.load(results.result_path(tmp_path, result().key)) == result()
    assert [path.name for path in tmp_path.iterdir()] == ["treepo-seed0-f1.json"]


def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text('{"arm": "grpo"}')
    with pytest.raises(ValueError, match=r"notes\.json is not a result of this version"):
        results.load_newest(tmp_path)


def test_only_runs_that_are_missing_are_made(tmp_path: Path) -> None:
    results.save(tmp_path, finished(KEYS[1]))
    made: list[RunKey] = []

    def runner(key: RunKey) -> RunResult:
        made.append(key)
        return finished(key)

    said: list[str] = []
    assert results.run_missing(KEYS, tmp_path, runner, tell=said.append) == []
    assert made == [KEYS[0], KEYS[2], KEYS[3]]
    assert "2/4 treepo seed 0: done before" in said
    made.clear()
    assert results.run_missing(KEYS, tmp_path, runner, tell=said.append) == []
    assert made == []


def test_another_configuration_is_another_run(tmp_path: Path) -> None:
    results.save(tmp_path, dataclasses.replace(finished(KEYS[0]), fingerprint="older"))
    made: list[RunKey] = []

    def runner(key: RunKey) -> RunResult:
        made.append(key)
        return finished(key)

    results.run_missing(KEYS[:1], tmp_path, runner, tell=lambda line: None)
    assert made == KEYS[:1]


def test_a_killed_run_alone_is_made_again(tmp_path: Path) -> None:
    made: list[RunKey] = []

    def killed(key: RunKey) -> RunResult:
        made.append(key)
        if key == KEYS[2]:
            raise KeyboardInterrupt
        return finished(key)

    with pytest.raises(KeyboardInterrupt):
        results.run_missing(KEYS, tmp_path, killed, tell=lambda line: None)
    assert made == KEYS[:3]
    made.clear()

    def whole(key: RunKey) -> RunResult:
        made.append(key)
        return finished(key)

    results.run_missing(KEYS, tmp_path, whole, tell=lambda line: None)
    assert made == KEYS[2:]


def test_a_run_that_fails_is_tried_again_and_then_left(tmp_path: Path) -> None:
    attempts: list[RunKey] = []

    def runner(key: RunKey) -> RunResult:
        attempts.append(key)
        if key == KEYS[0] or (key == KEYS[1] and attempts.count(key) == 1):
            raise RunFailed("no luck")
        return finished(key)

    said: list[str] = []
    assert results.run_missing(KEYS[:3], tmp_path, runner, tell=said.append) == [KEYS[0]]
    assert attempts == [KEYS[0], KEYS[0], KEYS[1], KEYS[1], KEYS[2]]
    assert "1/3 grpo seed 0: failed, attempt 2 of 2: no luck" in said
    assert results.result_path(tmp_path, KEYS[1]).is_file()


@pytest.mark.parametrize("other_succeeds", [True, False])
def test_a_run_that_another_process_makes_is_left_to_it_until_that_ends(tmp_path: Path, other_succeeds: bool) -> None:
    made: list[RunKey] = []
    others = results.claim(results.claim_path(tmp_path, KEYS[0]), wait=False)
    assert others.__enter__()

    def runner(key: RunKey) -> RunResult:
        made.append(key)
        if key == KEYS[1]:
            if other_succeeds:
                results.save(tmp_path, finished(KEYS[0]))
            others.__exit__(None, None, None)
        return finished(key)

    said: list[str] = []
    assert results.run_missing(KEYS[:2], tmp_path, runner, tell=said.append) == []
    assert made == (KEYS[1:2] if other_succeeds else [KEYS[1], KEYS[0]])
    assert said[0] == "1/2 grpo seed 0: another process makes it"
    assert results.result_path(tmp_path, KEYS[0]).is_file()


def test_the_report_takes_an_arms_newest_configuration(tmp_path: Path) -> None:
    for seed in (0, 1):
        results.save(tmp_path, result("grpo", seed, fingerprint="old"))
    results.save(tmp_path, result("grpo", 0, fingerprint="new", finished="2026-02-01T00:00:00+00:00"))
    results.save(tmp_path, result("treepo", 1, fingerprint="old"))
    kept, left_out = results.load_newest(tmp_path)
    assert [(one.arm, one.seed, one.fingerprint) for one in kept] == [("grpo", 0, "new"), ("treepo", 1, "old")]
    assert left_out == 2


def test_the_report_keeps_to_the_newest_study(tmp_path: Path) -> None:
    results.save(tmp_path, result("grpo", 0, study="old"))
    results.save(tmp_path, result("treepo", 0, study="new", finished="2026-02-01T00:00:00+00:00"))
    kept, left_out = results.load_newest(tmp_path)
    assert [(one.arm, one.study) for one in kept] == [("treepo", "new")]
    assert left_out == 1


def test_without_results_there_is_nothing_to_report(tmp_path: Path) -> None:
    assert results.load_newest(tmp_path) == ([], 0)


# --- from logs to results

KEY = RunKey(arm="treepo", seed=1, fingerprint="f")


def write_logs(folder: Path, *, steps: int, tree: bool) -> None:
    writer = SummaryWriter(str(folder))
    for step in range(1, steps + 1):
        for part in ("step", "gen", "old_log_prob", "adv", "update_actor", "update_weights"):
            writer.add_scalar(f"timing_s/{part}", step, step)
        if step % study.EVALUATE_EVERY == 0:
            writer.add_scalar("timing_s/save_checkpoint", 0.5, step)
        writer.add_scalar("critic/score/mean", -0.5, step)
        writer.add_scalar("prompt_length/mean", 40.25, step)
        writer.add_scalar("response_length/mean", 80.75, step)
        writer.add_scalar("perf/total_num_tokens", 128 * (40.25 + 80.75), step)
        if tree:
            writer.add_scalar("treepo/tokens/generated", 700 + step, step)
            writer.add_scalar("treepo/tokens/discarded", 3, step)
            writer.add_scalar("treepo/tokens/in_trajectories", 1000 + step, step)
            writer.add_scalar("treepo/fallback/trajectory_share", step / 4, step)
    writer.close()


def read(folder: Path, *, steps: int) -> RunResult:
    return collect.read_result(
        folder,
        key=KEY,
        study="s",
        steps=steps,
        overrides=[],
        held_out_samples=64,
        accuracy={0: 0.25, steps: 0.5},
        began=time.time() - 9,
        wall=50.0,
        load_before=0.1,
    )


def test_a_tree_runs_tokens_are_those_of_the_engine(tmp_path: Path) -> None:
    write_logs(tmp_path, steps=2, tree=True)
    made = read(tmp_path, steps=2)
    # Those thrown away were generated, too.
    assert (made.tokens_generated, made.tokens_in_trajectories) == ([704, 705], [1001, 1002])
    assert made.fallback_share == 0.375
    assert (made.accuracy_steps, made.accuracy, made.key) == ([0, 2], [0.25, 0.5], KEY)
    # From the start 9 s ago to the first step's end, less a usual step of 2 s.
    assert 7 <= made.start_up_seconds <= 30
    assert made.seconds_by_part["gen"] == 2


def test_independent_samples_generate_every_token_of_theirs(tmp_path: Path) -> None:
    write_logs(tmp_path, steps=2, tree=False)
    made = read(tmp_path, steps=2)
    assert made.tokens_generated == made.tokens_in_trajectories == [round(128 * 80.75)] * 2
    assert made.fallback_share is None


def test_saving_a_model_is_no_part_of_a_steps_seconds(tmp_path: Path) -> None:
    write_logs(tmp_path, steps=10, tree=True)
    assert read(tmp_path, steps=10).seconds == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 9.5]


def test_a_training_that_stopped_early_is_no_result(tmp_path: Path) -> None:
    write_logs(tmp_path, steps=1, tree=True)
    with pytest.raises(ValueError, match=r"timing_s/step is logged for steps \[1\], not for 1 to 2"):
        read(tmp_path, steps=2)


def test_the_held_out_accuracy_is_the_share_of_right_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_tiny_model(tmp_path / "model")
    chains = held_out_chains(WORDS.warm_start.task)
    draws: list[int] = []

    def pupil(network, prompts: Sequence[list[int]], *, end: int, max_new_tokens: int, temperature: float, generator):
        """Right on all problems in the first round, on every fourth in the second."""
        assert (len(prompts), max_new_tokens, temperature) == (len(chains), WORDS.warm_start.response_length, 1.0)
        draws.append(generator.initial_seed())
        known = 1 if len(draws) == 1 else 4
        right = [working(chain) if index % known == 0 else "" for index, chain in enumerate(chains)]
        tokenizer = evaluate.Qwen2Tokenizer.from_pretrained(model)
        return [[*tokenizer.encode(text), end] for text in right]

    monkeypatch.setattr(evaluate, "sample", pupil)
    assert evaluate.held_out_accuracy(model, model, WORDS.warm_start, samples=2, seed=5) == (1 + 1 / 4) / 2
    assert draws == [5, 5]


@pytest.fixture
def runner(tmp_path: Path) -> collect.TrainingRunner:
    model = WarmStart(path=tmp_path / "warm", accuracy=0.2, greedy_accuracy=0.3, steps=1, seconds=1.0)
    task = TaskFiles(train=tmp_path / "train.parquet", held_out=tmp_path / "held_out.parquet")
    return collect.TrainingRunner(
        WORDS, prepared=Prepared(task=task, model=model), folder=tmp_path / "runs", steps=20, limit=30.0
    )


def test_a_run_trains_and_evaluates_the_models_that_it_saved(
    runner: collect.TrainingRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_by_a_killed_run = tmp_path / "runs" / KEY.name / "tensorboard" / "events.out.tfevents.1.killed"
    left_by_a_killed_run.parent.mkdir(parents=True)
    left_by_a_killed_run.write_bytes(b"")
    commands: list[Sequence[str]] = []
    evaluated: list[str] = []

    def training(command: Sequence[str], log: Path, *, limit: float) -> float:
        commands.append(command)
        write_logs(log.parent / "tensorboard", steps=20, tree=True)
        (log.parent / "checkpoints").mkdir()
        return 40.0

    def accuracy(model: Path, tokenizer: Path, settings: object, *, samples: int, seed: int) -> float:
        evaluated.append(str(model.relative_to(tmp_path)))
        return len(evaluated) / 10

    monkeypatch.setattr(collect, "run_bounded", training)
    monkeypatch.setattr(collect, "held_out_accuracy", accuracy)
    made = runner(KEY)
    saved = [f"runs/{KEY.name}/checkpoints/global_step_{step}/actor/huggingface" for step in (10, 20)]
    assert evaluated == ["warm", *saved]
    assert (made.accuracy_steps, made.accuracy) == ([0, 10, 20], [0.1, 0.2, 0.3])
    assert not left_by_a_killed_run.exists()
    assert not (tmp_path / "runs" / KEY.name / "checkpoints").exists()
    assert commands[0][1:4] == ["-m", "benchmarks.learning.train", "tree"]
    assert {"treepo.seed=1", "algorithm.adv_estimator=treepo", f"run_dir={tmp_path / 'runs' / KEY.name}"} <= set(
        commands[0]
    )
    # The start is one model: measured once per seed.
    assert runner(dataclasses.replace(KEY, arm="grpo")).accuracy[0] == 0.1
    assert evaluated.count("warm") == 1
    assert commands[1][3] == "independent"


@pytest.mark.parametrize("steps", [0, 3])
def test_a_training_without_all_its_logs_is_a_failed_run(
    steps: int, runner: collect.TrainingRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def training(command: Sequence[str], log: Path, *, limit: float) -> float:
        if steps:
            write_logs(log.parent / "tensorboard", steps=steps, tree=True)
        return 40.0

    monkeypatch.setattr(collect, "run_bounded", training)
    monkeypatch.setattr(collect, "held_out_accuracy", lambda *arguments, **options: 0.5)
    with pytest.raises(RunFailed, match=r"did the training log|is logged for steps"):
        runner(KEY)


def test_a_training_that_fails_or_saves_no_model_is_a_failed_run(
    runner: collect.TrainingRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> float:
        raise ProcessFailed("ended with status 1")

    monkeypatch.setattr(collect, "run_bounded", fail)
    with pytest.raises(RunFailed, match="ended with status 1"):
        runner(KEY)

    def missing(*arguments: object, **options: object) -> float:
        raise OSError("no such model")

    monkeypatch.setattr(collect, "run_bounded", lambda *arguments, **options: 40.0)
    monkeypatch.setattr(collect, "held_out_accuracy", missing)
    with pytest.raises(RunFailed, match="no such model"):
        runner(KEY)
