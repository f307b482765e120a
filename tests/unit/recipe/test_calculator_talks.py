"""What the calculator's model is warm-started on, and the commands that its recipe runs."""

import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from tiny_stack import fit_tokenizer, write_tiny_model
from transformers import Qwen2Tokenizer
from typer.testing import CliRunner
from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder

from recipe.calculator.__main__ import app
from recipe.calculator.lessons import Talks, TalkSettings
from recipe.calculator.run import HERE, PRESET, TOOLS
from recipe.calculator.talks import Said, reply_text, reply_to, talk
from treepo.commands import main
from treepo.config.load import compose, resolve, tree_options
from treepo.evaluation.config import compose_evaluation, settle, talk_options
from treepo.quickstart.chains import Chain, story
from treepo.quickstart.lessons import IGNORED, end_token, prompt_tokens
from treepo.quickstart.run import NOT_WITH_TOOLS
from treepo.quickstart.task import TaskSettings, draw, write_task
from treepo.quickstart.warm_start import build_tokenizer, warm_start
from treepo.rewards.boxed import last_boxed
from treepo.start.checks import check

TASK = TaskSettings(train=400, held_out=8, fewest_steps=2, most_steps=3)
BOTH = pytest.mark.parametrize("tools", [False, True], ids=["environment", "tools"])


def talks(*, tools: bool) -> Talks:
    return Talks(TalkSettings(task=TASK, tools=tools))


@pytest.fixture(scope="module")
def tokenizers() -> dict[bool, Qwen2Tokenizer]:
    return {tools: build_tokenizer(talks(tools=tools)) for tools in (False, True)}


def chains(count: int) -> list[Chain]:
    draws = random.Random(3)
    return [draw(draws, TASK) for _ in range(count)]


@BOTH
@pytest.mark.parametrize("slip_chance", [0.0, 0.8])
def test_the_pupil_reads_what_the_calculator_answers_and_errs_by_slips_alone(tools: bool, slip_chance: float) -> None:
    draws, right = random.Random(0), 0
    for chain in chains(200):
        *asked, last = talk(chain, draws, by_head=0.5, slip_chance=slip_chance, tools=tools)
        assert [said.reply for said in asked] == [reply_to(said.text, tools=tools) for said in asked]
        assert None not in [said.reply for said in asked]
        assert last.reply is reply_to(last.text, tools=tools) is None
        right += last_boxed(last.text) == str(chain.answer)
    assert right == 200 if slip_chance == 0 else 80 < right < 180


@BOTH
def test_who_asks_every_day_is_right_and_who_never_asks_says_one_turn(tools: bool) -> None:
    draws = random.Random(0)
    for chain in chains(50):
        *asked, last = talk(chain, draws, by_head=0.0, slip_chance=1.0, tools=tools)
        assert len(asked) == len(chain.steps)
        assert last.text == f"The answer is \\boxed{{{chain.answer}}}."
        (alone,) = talk(chain, draws, by_head=1.0, slip_chance=1.0, tools=tools)
        assert alone.reply is None


@BOTH
def test_a_reply_has_the_tokens_that_verl_writes(tools: bool, tokenizers: dict[bool, Qwen2Tokenizer]) -> None:
    tokenizer = tokenizers[tools]
    builder: Any = create_continuous_token_builder(tokenizer, hf_model_type="qwen2")
    (chain,) = chains(1)
    said = next(iter(talk(chain, random.Random(0), by_head=0.0, slip_chance=0.0, tools=tools)))
    assert said.reply is not None
    before = [{"role": "user", "content": story(chain)}, {"role": "assistant", "content": said.text}]
    so_far = [*prompt_tokens(tokenizer, chain), *tokenizer.encode(said.text), end_token(tokenizer)]
    reply = {"role": "tool" if tools else "user", "content": said.reply}
    merged = builder.merge_context_tokens(before, [*before, reply], so_far)
    assert merged.token_ids == [*so_far, *tokenizer.encode(reply_text(said.reply, tools=tools))]


@BOTH
def test_the_pupils_turns_alone_are_learned_and_fit_the_preset(
    tools: bool, tokenizers: dict[bool, Qwen2Tokenizer]
) -> None:
    tokenizer, lessons = tokenizers[tools], talks(tools=tools)
    config = compose(PRESET, TOOLS if tools else (), config_dir=HERE)
    for chain in chains(200):
        tokens, labels = lessons.lesson(tokenizer, chain, random.Random(str(chain)))
        said = list(
            talk(chain, random.Random(str(chain)), by_head=0.6, slip_chance=lessons.settings.slip_chance, tools=tools)
        )
        learned = [label for label in labels if label != IGNORED]
        assert tokenizer.decode(learned) == "".join(f"{turn.text}<|im_end|>" for turn in said)
        assert [token for token, label in zip(tokens, labels, strict=True) if label not in (token, IGNORED)] == []
        prompt = len(prompt_tokens(tokenizer, chain))
        assert prompt <= config.data.max_prompt_length
        assert len(tokens) - prompt <= config.data.max_response_length
        assert max(len(tokenizer.encode(turn.text)) for turn in said) < lessons.settings.response_length


@BOTH
@pytest.mark.parametrize(("by_head", "right"), [(0.0, 1.0), (1.0, 0.0)])
def test_accuracy_reads_the_box_of_the_last_turn(
    tools: bool,
    by_head: float,
    right: float,
    tokenizers: dict[bool, Qwen2Tokenizer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The model is a pupil who always asks, or one who never does and forgets every carry."""
    tokenizer = tokenizers[tools]
    asked = [chain for chain in chains(100) if any(_carries(chain))]

    def said(chain: Chain) -> list[Said]:
        return list(talk(chain, random.Random(0), by_head=by_head, slip_chance=1.0, tools=tools))

    by_prompt = {tuple(prompt_tokens(tokenizer, chain)): said(chain) for chain in asked}

    def sample(model: object, prompts: Sequence[Sequence[int]], *, end: int, **_: object) -> list[list[int]]:
        found = []
        for prompt in prompts:
            (talked,) = [turns for start, turns in by_prompt.items() if tuple(prompt[: len(start)]) == start]
            answered = (list(prompt).count(end) - 1) // 2
            found.append([*tokenizer.encode(talked[answered].text), end])
        return found

    monkeypatch.setattr("recipe.calculator.lessons.sample", sample)
    found = talks(tools=tools).accuracy(None, tokenizer, asked, temperature=1.0)  # pyright: ignore[reportArgumentType]
    # A borrow and a carry that are both forgotten make up for each other.
    assert found == right if right else found < 0.3


def _carries(chain: Chain) -> list[bool]:
    stock, found = chain.start, []
    for step in chain.steps:
        found.append(step.carries(stock))
        stock = step.apply(stock)
    return found


@BOTH
def test_a_tiny_model_is_warm_started_and_found_again(tools: bool, tmp_path: Path) -> None:
    tiny = TalkSettings(
        task=TaskSettings(train=100, held_out=2, fewest_steps=2, most_steps=3),
        tools=tools,
        hidden_size=32,
        layers=1,
        intermediate_size=32,
        batch=2,
        most_steps=1,
        band=(0.0, 1.0),
        response_length=3,
    )
    steps: list[int] = []
    made, again = (warm_start(tmp_path, Talks(tiny), progress=lambda step, *_: steps.append(step)) for _ in range(2))
    assert made == again
    assert steps == [1]


def test_settings_of_another_kind_are_another_model() -> None:
    keys = {TalkSettings().key, TalkSettings(tools=True).key, TalkSettings(by_head=0.5).key}
    assert len(keys) == 3


@BOTH
def test_the_preset_passes_the_checks_before_the_start(tools: bool, tmp_path: Path) -> None:
    task = write_task(tmp_path / "task", TASK)
    fit_tokenizer(write_tiny_model(tmp_path / "model"), task.train)
    paths = [
        f"data.train_files=[{task.train}]",
        f"data.val_files=[{task.held_out}]",
        f"actor_rollout_ref.model.path={tmp_path / 'model'}",
        f"run_dir={tmp_path / 'run'}",
    ]
    config = compose(PRESET, [*(TOOLS if tools else ()), *paths], config_dir=HERE)
    resolve(config)
    assert check(config) == []
    options = tree_options(config)
    assert (options.environment.name is None) is tools
    assert OmegaConf.select(config, "actor_rollout_ref.rollout.agent.default_agent_loop") == (
        "tool_agent" if tools else "single_turn_agent"
    )


@BOTH
def test_the_command_trains_evaluates_talks_and_reports(
    tools: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []
    reported: list[tuple[Path | None, str | None]] = []

    def prepare(folder: Path, *, console: object, lessons: Talks) -> SimpleNamespace:
        assert lessons.settings.tools is tools
        task = SimpleNamespace(train=folder / "train.parquet", held_out=folder / "held_out.parquet")
        return SimpleNamespace(task=task, model=SimpleNamespace(path=folder / "model-1"))

    def report(
        run_dir: Path, out: Path, *, evaluation: Path | None, why_none: str | None, **_: object
    ) -> SimpleNamespace:
        reported.append((evaluation, why_none))
        return SimpleNamespace(report=out / "report.md", accuracy_before=0.4, accuracy_after=0.9)

    monkeypatch.setattr("treepo.quickstart.prepare.prepare", prepare)
    monkeypatch.setattr("treepo.quickstart.training.run_training", lambda command, *_, **__: commands.append(command))
    monkeypatch.setattr("treepo.quickstart.report.write_report", report)
    limit = "actor_rollout_ref.rollout.multi_turn.max_assistant_turns=4"
    words = [*(["--tools"] if tools else []), "--out", str(tmp_path), "--seed", "2", "treepo.max_depth=5", limit]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    training, *evaluations = commands
    ((evaluated, why_none),) = reported
    if tools:
        assert (evaluations, evaluated, why_none) == ([], None, NOT_WITH_TOOLS)
    else:
        (evaluation,) = evaluations
        composed = compose_evaluation("quickstart", [word for word in evaluation if "=" in word])
        talks = talk_options(composed)
        assert talks is not None
        assert (talks.environment.name, talks.max_depth) == ("recipe.calculator.calculator:Calculator", 5)
        assert composed.actor_rollout_ref.rollout.multi_turn.max_assistant_turns == 4
        assert settle(composed).samplings == ("independent", "tree d=2", "tree d=4")
        assert (str(evaluated), why_none) == (composed.run_dir, None)
    assert main([*training[3:], "--cfg", "job"]) == 0
    printed = capsys.readouterr().out
    assert "  max_depth: 5\n" in printed
    assert f"default_agent_loop: {'tool_agent' if tools else 'single_turn_agent'}\n" in printed


def test_a_misspelt_option_is_one_line_before_anything_is_made(tmp_path: Path, capsys: Any) -> None:
    done = CliRunner().invoke(app, ["--cache", str(tmp_path / "cache"), "treepo.widht=3"])
    assert done.exit_code == 2
    assert not (tmp_path / "cache").exists()
