"""The calculator's recipe by its command, from task to report, on real verl, vLLM and Ray with a short warm start."""

import re
from functools import partial
from pathlib import Path

import pytest
from training_run import ROOT
from transformers import AutoTokenizer
from typer.testing import CliRunner

from recipe.calculator.__main__ import app
from recipe.calculator.lessons import TalkSettings
from recipe.calculator.talks import reply_text, reply_to
from treepo.evaluation import StoredRun
from treepo.quickstart.run import NOT_WITH_TOOLS
from treepo.quickstart.task import TaskSettings
from treepo.rewards.boxed import last_boxed
from treepo.viewer import read_records

WIDTH, PROMPTS, HELD_OUT, SAMPLES = 4, 8, 8, 8
# What a training step takes; evaluations keep their own 8 samples a problem.
SMALL = (
    f"treepo.width={WIDTH}",
    "treepo.initial_divergence=[1,2]",
    "treepo.dump_trees=1",
    f"data.train_batch_size={PROMPTS}",
    f"actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS}",
    "actor_rollout_ref.rollout.val_kwargs.n=1",
    "trainer.total_training_steps=1",
)

pytestmark = [pytest.mark.timeout(3600), pytest.mark.nightly]


@pytest.mark.parametrize("tools", [False, True], ids=["environment", "tools"])
def test_the_command_makes_trains_evaluates_and_reports(
    tools: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Enough of a warm start to ask; a pupil who always asks.
    small = partial(
        TalkSettings,
        task=TaskSettings(train=400, held_out=HELD_OUT, fewest_steps=2, most_steps=2),
        by_head=0.0,
        most_steps=100,
        check_every=100,
        falling=50,
        band=(0.0, 1.0),
    )
    monkeypatch.setattr("recipe.calculator.lessons.TalkSettings", small)
    # The environment's folder is that of the command.
    monkeypatch.chdir(ROOT)
    places = ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    done = CliRunner().invoke(app, [*(["--tools"] if tools else []), *places, *SMALL])
    assert done.exit_code == 0, done.output
    (run_dir,) = (tmp_path / "out").iterdir()
    report = (run_dir / "report.md").read_text()
    assert "## The turns" in report
    assert "Trees of step 1, token by token: [trees.html](trees.html)." in report
    assert (run_dir / "trees.html").is_file()

    records = list(read_records(run_dir / "trees" / "step_1.jsonl"))
    assert len(records) == PROMPTS
    model = tmp_path / "cache" / ("tools/model" if tools else "model")
    tokenizer = AutoTokenizer.from_pretrained(model)
    answered = 0
    for record in records:
        assert len(record.trajectories) == WIDTH
        for node in (node for node in record.nodes if node.observed):
            # A turn is one node here: no longer than a segment.
            said = tokenizer.decode(node.tokens[: node.written], skip_special_tokens=True)
            reply = reply_to(said, tools=tools)
            assert reply is not None
            assert tokenizer.decode(node.tokens[node.written :]) == reply_text(reply, tools=tools)
            answered += 1
    assert answered > PROMPTS

    if tools:
        assert NOT_WITH_TOOLS in report
        assert not (run_dir / "evaluation").exists()
        return
    for sampling in ("independent", "tree d=2", "tree d=4"):
        assert f"\n| {sampling} | " in report
    stored = StoredRun(run_dir / "evaluation")
    (benchmark,) = stored.plan.benchmarks
    samples = list(stored.samples(benchmark))
    assert len(samples) == 3 * HELD_OUT * SAMPLES
    answered = 0
    for sample in samples:
        # Without special tokens.
        *talked, last = re.split(r"\nuser\n(.*)\nassistant\n", sample.response)
        assert talked[1::2] == [reply_to(said, tools=False) for said in talked[::2]]
        # A number that the calculator printed is no answer.
        assert (sample.answer is None) is (last_boxed(last) is None)
        assert sample.answer is None or f"\\boxed{{{sample.answer}" in last
        answered += len(talked[1::2])
    assert answered > len(samples)
