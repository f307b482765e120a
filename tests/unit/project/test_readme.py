"""The README, and the pages that a reader opens first: what they tell to type can be typed."""

import json
import re
import shlex
from pathlib import Path

import pytest
from tiny_stack import write_tiny_model
from training_run import ROOT, write_sums

from treepo.config.load import compose, resolve, tree_options
from treepo.start.checks import check

TEXT = (ROOT / "README.md").read_text()
BUILT = (ROOT / "docs/architecture.md").read_text()
FIRST = TEXT + "".join((ROOT / f"docs/{name}.md").read_text() for name in ("quickstart", "install", "training"))
BLOCKS = re.findall(r"```bash\n(.*?)```", FIRST, flags=re.DOTALL)
COMMANDS = [
    command for block in BLOCKS for command in block.replace("\\\n", " ").splitlines() if command and command[0] != "#"
]


def overrides(command: str) -> list[str]:
    return [word for word in shlex.split(command) if re.match(r"[a-z_]+(\.[a-z_0-9]+)+=", word)]


def preset(command: str) -> str:
    words = shlex.split(command)
    return words[words.index("--preset") + 1] if "--preset" in words else "cpu_quickstart"


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("treepo train ")])
def test_every_training_command_that_is_read_first_passes_the_checks_before_the_start(
    command: str, tmp_path: Path
) -> None:
    model, table = write_tiny_model(tmp_path / "model"), write_sums(tmp_path / "sums.parquet", 1024, seed=0)
    # A context that is long enough for the lengths of the commands.
    described = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**described, "max_position_embeddings": 32768}))
    own = [
        f"actor_rollout_ref.model.path={model}",
        f"data.train_files=[{table}]",
        f"data.val_files=[{table}]",
        f"run_dir={tmp_path / 'run'}",
    ]
    config = compose(preset(command), [*overrides(command), *own])
    resolve(config)
    assert check(config) == []


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len(TEXT.splitlines()) <= 120


def test_every_folder_is_listed_where_the_architecture_is_described() -> None:
    folders = re.findall(r"^\| `([a-z_]+/[a-z_/]*)`", BUILT, flags=re.MULTILINE)
    assert folders
    assert [name for name in folders if not Path(ROOT, name).exists()] == []
    rooms = {f"treepo/{folder.parent.name}/" for folder in (ROOT / "treepo").glob("*/__init__.py")}
    assert {room for room in rooms if f"`{room}`" not in BUILT} == set()


def test_every_page_of_the_docs_is_reached_from_the_readme() -> None:
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        links = [link for link in re.findall(r"\]\(([^)#]+\.md)", page.read_text()) if "://" not in link]
        todo += [found for link in links if (found := (page.parent / link).resolve()) not in reached]
        reached.update(todo)
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {page.name for page in reached} == set()


@pytest.mark.parametrize("page", [TEXT, BUILT], ids=["README", "architecture"])
def test_the_drawings_name_classes_and_functions_of_the_code(page: str) -> None:
    drawings = re.findall(r"```mermaid\n(.*?)```", page, flags=re.DOTALL)
    assert len(drawings) == 2
    code = "\n".join(path.read_text() for path in (ROOT / "treepo").rglob("*.py"))
    defined = set(re.findall(r"^\s*(?:class|async def|def) (\w+)", code, flags=re.MULTILINE))
    named = set(re.findall(r"\b(?:_?[a-z]+(?:_[a-z]+)+|[A-Z][a-z]\w*[A-Z]\w*)\b", "".join(drawings)))
    assert len(named) > 15
    # Of verl's.
    assert named - defined == {"ReplayBuffer"}


@pytest.mark.parametrize("option", re.findall(r"`(\+?[a-z_]+(?:\.[a-z_]+)+=[^`]+)`", FIRST))
def test_every_option_named_in_passing_composes_and_is_valid(option: str) -> None:
    tree_options(compose("qwen2_5_7b", [option]))


def test_every_word_that_a_shell_would_expand_is_quoted() -> None:
    # zsh refuses a bare word with brackets.
    commands = [*COMMANDS, *re.findall(r"`(pip install [^`]+)`", FIRST)]
    bare = [re.sub(r"'[^']*'|\"[^\"]*\"", "", command.split("#")[0]) for command in commands]
    assert [command for command in bare if set(command) & set("[]*?{}")] == []


def test_every_measured_number_stands_on_the_page_that_it_is_from() -> None:
    rows = re.findall(r"^\| [^|]+ \| ([^|]*\d[^|]*) \| \[\w+\]\((docs/\w+\.md)\) \|$", TEXT, flags=re.MULTILINE)
    numbers = [(page, number) for cell, page in rows for number in re.findall(r"\d+\.\d+%?", cell)]
    assert len(numbers) >= 6
    assert [(page, number) for page, number in numbers if number not in (ROOT / page).read_text()] == []
