"""What is checked before an evaluation starts, and which runs may be resumed with other options."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from treepo.config import ConfigError
from treepo.evaluation import RunWriter
from treepo.evaluation.ask import hub_model, setup
from treepo.evaluation.ask.hub_model import fetch_model
from treepo.evaluation.ask.setup import Setup, check, prepare
from treepo.evaluation.config import compose_evaluation

TEMPLATE = "{{ messages }}"


class Tokens:
    """A token per letter."""

    chat_template = TEMPLATE

    def apply_chat_template(self, conversation: list[dict[str, str]], **_: object) -> list[int]:
        return list("".join(message["content"] for message in conversation).encode())

    def decode(self, token_ids: list[int], **_: object) -> str:
        return bytes(token_ids).decode()


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The overrides of an evaluation of three questions and a model that is only looked at."""
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (model / name).write_text("{}")
    row = {
        "data_source": "tests/sums",
        "prompt": [{"role": "user", "content": "1 + 1?"}],
        "reward_model": {"style": "rule", "ground_truth": "2"},
    }
    pq.write_table(pa.Table.from_pylist([row] * 3), tmp_path / "sums.parquet")
    return [
        f"evaluation.model={model}",
        f"evaluation.benchmarks=[{tmp_path / 'sums.parquet'}]",
        f"run_dir={tmp_path / 'run'}",
        "evaluation.prompt_length=1000",
    ]


def checked(*overrides: str) -> Setup:
    return check(compose_evaluation("quickstart", overrides))


def begin(of: Setup) -> None:
    """Begins a run without a sample."""
    with RunWriter(Path(of.config.run_dir), prepare(of, of.model.folder, Tokens()).plan):
        pass


def test_a_smoke_run_asks_the_first_questions_and_says_so_in_the_plan(words: list[str]) -> None:
    prepared = prepare(checked(*words, "evaluation.max_questions=2"), Path("nowhere"), Tokens())
    assert prepared.plan.benchmarks["sums"].questions == len(prepared.prompts["sums"].prompts) == 2
    assert prepared.plan.options["max_questions"] == 2


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        ("evaluation.max_questions=2", "evaluation.max_questions=3", "options.max_questions=2, now 3"),
        (
            "evaluation.prompt_template=qwen",
            "evaluation.prompt_template=none",
            ".prompt_template=qwen, now none",
        ),
        ("evaluation.prompt_template=ours", "evaluation.prompt_template=qwen", "=(not set), now qwen"),
        ("evaluation.seeds=1", "evaluation.seeds=2", "seeds=1, now 2"),
        (
            "evaluation.reward_function=pkg://treepo.rewards.math",
            "evaluation.max_questions=null",
            "options.reward_function.name=pkg://treepo.rewards.math, now (not set)",
        ),
    ],
)
def test_a_run_resumes_with_the_same_options_alone(words: list[str], first: str, second: str, line: str) -> None:
    begin(checked(*words, first))
    begin(checked(*words, first))
    with pytest.raises(ConfigError) as refused:
        begin(checked(*words, second))
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_run_that_was_begun_before_these_options_resumes(words: list[str]) -> None:
    checked_setup = checked(*words)
    options = prepare(checked_setup, checked_setup.model.folder, Tokens()).plan.options
    assert not {"max_questions", "prompt_template", "reward_function", "model_revision"} & set(options)


def test_a_template_is_what_the_model_is_asked(words: list[str]) -> None:
    prepared = prepare(checked(*words, "evaluation.prompt_template=qwen"), Path("nowhere"), Tokens())
    text = prepared.prompts["sums"].prompts[0].text
    assert text.startswith("You are a helpful assistant.1 + 1?")


def test_a_folder_has_no_revision_and_several_nodes_need_a_folder(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="is a folder, and only a model on the hub has revisions"):
        checked(*words, "evaluation.model_revision=main")
    hub = ["evaluation.model=some/model", "evaluation.model_revision=main", "evaluation.nodes=2"]
    with pytest.raises(ConfigError, match=r"is refused on evaluation\.nodes=2: download it once"):
        checked(*words, *hub)


def test_a_threshold_that_nothing_reads_is_refused(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.reward_threshold=0\.5 is refused: nothing reads it without"):
        checked(*words, "evaluation.reward_threshold=0.5")


def test_a_model_of_the_hub_is_one_commit_and_another_one_is_another_run(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []

    def snapshot(name: str, *, revision: str | None, ignore_patterns: list[str]) -> str:
        assert "*.pth" in ignore_patterns
        asked.append((name, revision))
        folder = tmp_path / "cache" / f"commit-of-{revision}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_text(f"weights of {revision}")
        return str(folder)

    monkeypatch.setattr(hub_model, "snapshot_download", snapshot)
    checked_setup = checked(*words, "evaluation.model=some/model", "evaluation.model_revision=v1")
    revisions = ("v1", "v1", "v2")
    folders = [fetch_model(checked_setup.model.name, revision) for revision in revisions]
    plans = [prepare(checked_setup, folder, Tokens()).plan for folder in folders]
    assert asked == [("some/model", "v1"), ("some/model", "v1"), ("some/model", "v2")]
    assert plans[0] == plans[1]
    assert plans[0].options["model_revision"] == "commit-of-v1"
    folder = tmp_path / "run"
    with RunWriter(folder, plans[0]):
        pass
    with pytest.raises(ConfigError, match=r"options\.model_revision=commit-of-v1, now commit-of-v2"):
        RunWriter(folder, plans[2])


@pytest.mark.parametrize(("weights", "calls"), [("model.safetensors", 1), ("pytorch_model.bin", 2)])
def test_older_weights_are_downloaded_only_where_there_are_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str, calls: int
) -> None:
    asked: list[list[str]] = []

    def snapshot(name: str, *, revision: str | None, ignore_patterns: list[str]) -> str:
        asked.append(ignore_patterns)
        if not any(Path(weights).match(pattern) for pattern in ignore_patterns):
            (tmp_path / weights).touch()
        return str(tmp_path)

    monkeypatch.setattr(hub_model, "snapshot_download", snapshot)
    assert (fetch_model("a/b", None) / weights).is_file()
    assert len(asked) == calls
    assert "*.bin" in asked[0]


def test_a_model_that_cannot_be_downloaded_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str, **_: object) -> str:
        raise OSError(f"nothing called\n{name}")

    monkeypatch.setattr(hub_model, "snapshot_download", fails)
    line = (
        r"evaluation\.model=a/b at evaluation\.model_revision=v1 cannot be downloaded \(OSError: nothing called a/b\)"
    )
    with pytest.raises(ConfigError, match=line):
        fetch_model("a/b", "v1")


def test_determinism_needs_a_gpu(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.deterministic=true is refused without a GPU"):
        checked(*words, "evaluation.deterministic=true")


def test_a_logger_that_is_not_installed_is_one_line(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "find_spec", lambda name: None if name == "wandb" else object())
    assert checked(*words, "evaluation.loggers=[tensorboard]").options.loggers == ("tensorboard",)
    with pytest.raises(ConfigError, match=r"evaluation\.loggers has wandb, which is not installed"):
        checked(*words, "evaluation.loggers=[wandb]")


def test_loggers_write_into_the_runs_folder_unless_the_environment_says_where(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TENSORBOARD_DIR", raising=False)
    monkeypatch.setenv("WANDB_DIR", "/own")
    config = checked(*words).config
    variables = config.ray_kwargs.ray_init.runtime_env.env_vars
    assert f"{config.run_dir}/tensorboard" == variables.TENSORBOARD_DIR
    assert variables.WANDB_DIR == "/own"
