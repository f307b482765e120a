"""A run's folder: what is written is read, a kill costs no finished sample and repeats none, options cannot change."""

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from evaluation_run import call, plan, sample, tree_sample, write_run
from training_run import ROOT

from treepo.config import ConfigError
from treepo.evaluation import BenchmarkPlan, RunWriter, Sample, StoredRun, repeats_itself
from treepo.evaluation.keep.export import write_parquet
from treepo.evaluation.keep.records import SCHEMA
from treepo.evaluation.keep.store import sample_file
from treepo.tree import FinishReason, NodePath

QUESTIONS = ("q0", "q1")


def keys(run: StoredRun) -> list[tuple[str, int]]:
    return [(sample.question, sample.index) for sample in run.samples("sums")]


def cut(path: Path, *, drop: int) -> None:
    path.write_bytes(path.read_bytes()[:-drop])


def test_a_sample_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = [
        sample(response='</script>\n"quoted" \u2028 结果 \x00', log_probs=(-0.5, -1.25, 0.0, -3.0)),
        sample(index=1, answer=None, correct=False, finish=FinishReason.MAX_TOKENS, truths=("1", "2")),
    ]
    run = write_run(tmp_path, plan(), written)
    assert list(run.samples("sums", log_probs=True)) == written
    assert [one.log_probs for one in run.samples("sums")] == [None, None]


def test_a_tree_sample_and_a_call_are_read_as_they_were_written(tmp_path: Path) -> None:
    wanted = tree_sample(0, [(1, 3), (7, 2)])
    took = call(sampling="tree d=2", prefix_tokens=9, cached_tokens=5)
    run = write_run(tmp_path, plan(samplings=("tree d=2",)), [wanted], [took])
    assert list(run.samples("sums")) == [wanted]
    assert run.calls() == [took]


def test_half_a_surrogate_pair_costs_one_letter_and_not_the_run(tmp_path: Path) -> None:
    run = write_run(tmp_path, plan(), [sample(response="cut \ud83d here")])
    assert [one.response for one in run.samples("sums")] == ["cut ? here"]


def test_pending_names_what_is_still_to_be_generated(tmp_path: Path) -> None:
    with RunWriter(tmp_path, plan(samplings=("independent", "tree d=2"))) as writer:
        assert writer.pending("sums", "independent", QUESTIONS) == [("q0", 0), ("q0", 1), ("q1", 0), ("q1", 1)]
        writer.append([sample("q0", 1), sample("q1", 0)])
        assert writer.pending("sums", "independent", QUESTIONS) == [("q0", 0), ("q1", 1)]
        assert len(writer.pending("sums", "tree d=2", QUESTIONS)) == 4


@pytest.mark.parametrize("drop", [1, 30])
def test_a_torn_last_line_is_dropped_and_generated_again(tmp_path: Path, drop: int) -> None:
    run = write_run(tmp_path, plan(), [sample("q0", 0), sample("q0", 1)])
    cut(sample_file(tmp_path, "sums"), drop=drop)
    assert keys(run) == [("q0", 0)]
    with RunWriter(tmp_path, plan()) as writer:
        assert writer.pending("sums", "independent", ("q0",)) == [("q0", 1)]
        writer.append([sample("q0", 1)])
    assert keys(run) == [("q0", 0), ("q0", 1)]


def test_a_last_line_of_zeros_after_a_crash_of_the_machine_is_dropped(tmp_path: Path) -> None:
    run = write_run(tmp_path, plan(), [sample("q0", 0)])
    with sample_file(tmp_path, "sums").open("ab") as file:
        file.write(bytes(500))
    assert keys(run) == [("q0", 0)]
    with RunWriter(tmp_path, plan()) as writer:
        writer.append([sample("q1", 0)])
    assert keys(run) == [("q0", 0), ("q1", 0)]


def test_a_torn_batch_is_dropped_whole(tmp_path: Path) -> None:
    with RunWriter(tmp_path, plan()) as writer:
        writer.append([sample("q0", 0)])
        writer.append([sample("q0", 1), sample("q1", 0), sample("q1", 1)])
    path = sample_file(tmp_path, "sums")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]))
    assert keys(StoredRun(tmp_path)) == [("q0", 0)]
    with RunWriter(tmp_path, plan()) as writer:
        assert len(writer.pending("sums", "independent", QUESTIONS)) == 3
    assert path.read_bytes() == lines[0]


def test_damage_in_the_middle_is_named_and_nothing_is_thrown_away(tmp_path: Path) -> None:
    write_run(tmp_path, plan(), [sample("q0", 0), sample("q0", 1)])
    path = sample_file(tmp_path, "sums")
    damaged = b"{" + path.read_bytes()
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"sums\.jsonl, line 1 is damaged"), RunWriter(tmp_path, plan()):
        pass
    assert path.read_bytes() == damaged


def test_a_line_without_a_field_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path, plan(), [sample()])
    path = sample_file(tmp_path, "sums")
    path.write_text(path.read_text().replace('"verdict"', '"verdikt"'))
    with pytest.raises(ValueError, match=r"sums\.jsonl, line 1 is damaged: verdict"):
        keys(run)


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": %d}', '{"schema": 0}'])
def test_a_damaged_plan_is_one_line_with_its_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content % SCHEMA if "%" in content else content)
    with pytest.raises(ConfigError, match=r"run\.json (cannot be read|holds no JSON object|is damaged|has schema)"):
        StoredRun(tmp_path)


def test_other_options_are_refused_by_name(tmp_path: Path) -> None:
    write_run(tmp_path, plan(), [sample()])
    other = plan(options={"temperature": 1.0, "lengths": {"prompt": 64, "response": 256}})
    with pytest.raises(ConfigError) as refusal:
        RunWriter(tmp_path, other)
    assert str(refusal.value) == (
        f"{tmp_path} was begun with options.temperature=0.6, now 1.0; options.lengths.response=128, now 256; "
        "give the same options, or another folder"
    )
    with pytest.raises(ConfigError, match=r"options\.top_p=\(not set\), now 1"):
        RunWriter(tmp_path, plan(options={**plan().options, "top_p": 1}))
    with pytest.raises(ConfigError, match=r"benchmarks\.more\.questions"):
        RunWriter(tmp_path, plan(benchmarks={**plan().benchmarks, "more": BenchmarkPlan(questions=1, weight=1)}))


def test_a_plan_in_tuples_is_the_same_after_json(tmp_path: Path) -> None:
    options = {"stop": ("a", "b"), "top_p": 1}
    write_run(tmp_path, plan(options=options), [sample()])
    with RunWriter(tmp_path, plan(options=options)) as writer:
        assert len(writer.pending("sums", "independent", QUESTIONS)) == 3


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    with RunWriter(tmp_path, plan()), pytest.raises(ConfigError, match="another process writes to"):
        RunWriter(tmp_path, plan())
    with RunWriter(tmp_path, plan()):
        pass


def test_a_sample_cannot_be_written_twice(tmp_path: Path) -> None:
    with RunWriter(tmp_path, plan()) as writer:
        writer.append([sample()])
        with pytest.raises(ValueError, match="is there already"):
            writer.append([sample()])
        with pytest.raises(ValueError, match="is there already"):
            writer.append([sample("q1"), sample("q1")])
    path = sample_file(tmp_path, "sums")
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(ValueError, match="twice"):
        keys(StoredRun(tmp_path))


def test_only_what_the_plan_names_can_be_written(tmp_path: Path) -> None:
    with RunWriter(tmp_path, plan(benchmarks={**plan().benchmarks, "more": plan().benchmarks["sums"]})) as writer:
        for bad, words in (
            ([sample(benchmark="other")], "benchmark other is not in the run's plan"),
            ([sample(sampling="tree d=2")], "sampling 'tree d=2' is not in the run's plan"),
            ([sample(), sample(benchmark="more")], "one batch with samples of sums and more"),
        ):
            with pytest.raises(ValueError, match=words):
                writer.append(bad)
        writer.append([])
    assert keys(StoredRun(tmp_path)) == []


def test_folders_that_hold_no_run_of_this_schema_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no evaluation"):
        StoredRun(tmp_path)
    write_run(tmp_path, plan(), [sample()])
    file = tmp_path / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 1}))
    with pytest.raises(ConfigError, match="has schema 1, this version reads schema 2"):
        StoredRun(tmp_path)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"log_probs": (-1.0,)}, "1 log-probs for 4 tokens"),
        ({"log_probs": (-1.0, -1.0, float("nan"), -1.0)}, "not finite"),
        ({"index": -1}, "must not be negative"),
        ({"path": NodePath(node_ids=(1,), node_lengths=(3,))}, "nodes of 3 tokens for 4 tokens"),
    ],
)
def test_a_sample_that_contradicts_itself_is_refused(fields: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sample(**fields)


def test_plans_without_work_or_with_a_benchmark_outside_the_folder_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a benchmark"):
        plan(samplings=())
    with pytest.raises(ValueError, match="benchmark name"):
        plan(benchmarks={"../sums": BenchmarkPlan(questions=1, weight=1)})


def test_repetition_is_what_stops_a_tree() -> None:
    assert repeats_itself("ab" * 100)
    assert not repeats_itself("".join(map(str, range(200))))


def test_parquet_holds_every_sample_with_its_path_and_log_probs(tmp_path: Path) -> None:
    one = tree_sample(0, [(1, 3), (7, 1)], log_probs=(-0.5, -1.0, -2.0, -0.25))
    run = write_run(tmp_path, plan(samplings=("independent", "tree d=2")), [sample(), one])
    (path,) = write_parquet(run)
    first, second = pq.read_table(path).to_pylist()
    assert set(first) == set(Sample.__dataclass_fields__)
    assert (first["log_probs"], first["path"], first["truths"], first["finish"]) == (None, None, ["2"], "eos")
    assert second["log_probs"] == [-0.5, -1.0, -2.0, -0.25]
    assert second["path"] == {"node_ids": [1, 7], "node_lengths": [3, 1]}
    assert (second["tree"], second["from_fallback"]) == (0, False)


GENERATION = """
import sys, time
from pathlib import Path
from evaluation_run import plan, sample
from treepo.evaluation import RunWriter

questions = [f"q{number}" for number in range(200)]
with RunWriter(Path(sys.argv[1]), plan(samples=4)) as writer:
    for question in questions:
        wanted = [index for other, index in writer.pending("sums", "independent", [question])]
        if wanted:
            with open(sys.argv[2], "a") as log:
                log.write("".join(f"{question} {index}\\n" for index in wanted))
            writer.append([sample(question, index, response="long " * 2000) for index in wanted])
            print(question, flush=True)
"""


def test_a_killed_run_resumes_without_losing_or_repeating_a_sample(tmp_path: Path) -> None:
    run, log = tmp_path / "run", tmp_path / "generated"
    command = [sys.executable, "-c", textwrap.dedent(GENERATION), str(run), str(log)]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests/support/stored'}"}
    for stop in ("q7", "q60", None):
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        if stop is None:
            process.communicate(timeout=120)
            assert process.returncode == 0
        else:
            for line in process.stdout:
                if line.strip() == stop:
                    process.send_signal(signal.SIGKILL)
                    break
            process.communicate(timeout=120)
    stored = keys(StoredRun(run))
    assert sorted(stored) == sorted((f"q{number}", index) for number in range(200) for index in range(4))
    # At most the batch in the making at each kill was generated twice.
    assert len(log.read_text().splitlines()) <= len(stored) + 2 * 4
